"""What the machine has: processor, memory, and devices that could run models, as far as the platform tells by itself."""

from __future__ import annotations

from foundry_cli.hardware.description import Cpu, Device, Hardware
from foundry_cli.hardware.detection import detect_hardware

__all__ = ["Cpu", "Device", "Hardware", "detect_hardware"]
