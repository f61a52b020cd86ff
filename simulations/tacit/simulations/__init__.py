"""Everything that plays people: data sets, vectorised engine, fleets of devices, the demo."""
