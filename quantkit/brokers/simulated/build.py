"""The simulated exchange put together from its parts."""

from quantkit.brokers.base import Agenda, BrokerFactory, BrokerSetup
from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.broker import SimulatedBroker
from quantkit.brokers.simulated.executions import Executions
from quantkit.brokers.simulated.market import Market
from quantkit.brokers.simulated.messages import MessageQueue
from quantkit.brokers.simulated.venue import SimulatedVenue
from quantkit.brokers.simulated.volume import VolumeShares
from quantkit.instruments import decimal_of
from quantkit.options import RunOptions


def simulated(options: RunOptions) -> BrokerFactory:
    """Return a factory of simulated exchanges with these options."""

    def make(setup: BrokerSetup) -> SimulatedBroker:
        account = Account(setup.ledger, setup.fees, max_leverage=decimal_of(options.max_leverage))
        markets: dict[str, Market] = {}
        agenda = Agenda()
        messages = MessageQueue(setup.latency_ns, setup.send_clock, agenda, keeps_decisions=setup.keeps_decisions)
        volume = VolumeShares(setup.matching, setup.cursors)
        executions = Executions(
            account,
            markets,
            latency_ns=setup.latency_ns,
            position=setup.position,
            observer=setup.observer,
            volume=volume,
            send_clock=setup.send_clock,
            dirty=setup.dirty,
            agenda=agenda,
        )
        venue = SimulatedVenue(setup, options, markets=markets, messages=messages, listener=executions, agenda=agenda)
        return SimulatedBroker(
            account,
            markets=markets,
            messages=messages,
            executions=executions,
            venue=venue,
            volume=volume,
            send_clock=setup.send_clock,
            dirty=setup.dirty,
            agenda=agenda,
        )

    return make
