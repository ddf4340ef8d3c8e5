"""The parts of the exchange in which orders act on each other; in this order they are told of fills and ends."""

from typing import NamedTuple, Self

from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.brackets import Brackets
from quantkit.brokers.simulated.executions import Executions
from quantkit.brokers.simulated.message_sender import MessageSender
from quantkit.brokers.simulated.oco_groups import OcoGroups
from quantkit.brokers.simulated.reduce_only import ReduceOnlyRules
from quantkit.rows.position import RunPosition


class ContingentOrders(NamedTuple):
    """OCO groups, brackets, and reduce-only orders by the exchange's rules."""

    groups: OcoGroups
    brackets: Brackets
    reduce_only: ReduceOnlyRules

    @classmethod
    def of(cls, executions: Executions, account: Account, sender: MessageSender, position: RunPosition) -> Self:
        """Make the parts of an exchange."""
        groups = OcoGroups(executions)
        brackets = Brackets(executions, account, groups, sender, position)
        return cls(groups, brackets, ReduceOnlyRules(executions, account))
