"""All planted faults, by name."""

from power_parts.fault import Fault
from power_parts.measurement_faults import MEASUREMENT_FAULTS
from power_parts.net_faults import NET_FAULTS, VARIANCE_FAULTS
from power_parts.theory_faults import THEORY_FAULTS

FAULTS: dict[str, Fault] = {**VARIANCE_FAULTS, **NET_FAULTS, **MEASUREMENT_FAULTS, **THEORY_FAULTS}
