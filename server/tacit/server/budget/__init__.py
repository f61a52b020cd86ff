"""The privacy budget: its rules applied inside the ledger's transactions."""

from tacit.server.budget.accountant import Accountant
from tacit.server.budget.store import BudgetStore, Spent

__all__ = ["Accountant", "BudgetStore", "Spent"]
