"""EndpointSlices: where the pods behind each Service are, for those who watch for that.

    slices      what a slice says of a pod, and which pods stand in which slice
    reconcile   the controller, which keeps the slices of each Service up to date

Which pods stand behind a Service is said in `services.backends`, by which names go too.
"""

from __future__ import annotations

from services.controllers.endpoints.reconcile import ENDPOINTS

__all__ = ["ENDPOINTS"]
