"""The base of our components: children know their parent and what must exist before them."""

from __future__ import annotations

from collections.abc import Iterable

import pulumi


class Concern(pulumi.ComponentResource):
    """One concern of the deployment; ``first`` are created before any of its resources.

    Pulumi does not hand a component's ``depends_on`` down to its children, so each child is
    declared with ``self.child(...)``.
    """

    def __init__(self, name: str, first: Iterable[pulumi.Resource] = ()) -> None:
        super().__init__(f"geminivideo:infra:{type(self).__name__}", name)
        self._first = list(first)

    def child(self, *after: pulumi.Resource, protect: bool = False) -> pulumi.ResourceOptions:
        """Options of a resource of this concern, created after ``after`` as well."""
        return pulumi.ResourceOptions(
            parent=self, depends_on=[*self._first, *after], protect=protect or None
        )
