"""The pure core: no wire, no network, no clock, no global randomness; time and bytes are arguments.

    what leaves a device   quantize, blocks, rounding
    what is added          discrete_gaussian
    what it costs          accounting, gaussian_event, budget, budget_documents
                           (accounting_closed_form, accounting_rdp, accounting_libraries)
    what is signed         canonical, signatures, governance, task, release, capability, requests
    what is agreed         signals, consent, notice, receipt, erasure
    what is proved         merkle, checkpoint, tiles, state_map, consent_map
    what is shipped        arrays
    what goes wrong        errors

Import from the module that is named for the concept; this package re-exports nothing, so that a
device loads only what it uses.
"""
