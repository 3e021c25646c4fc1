"""What can go wrong between a gateway and an actor."""


class ActorLostError(Exception):
    """A call to an actor ended without an answer: it may or may not have had its effect."""


class ActorAbsentError(ActorLostError):
    """There is no such actor, or no way to find it: nothing was sent."""
