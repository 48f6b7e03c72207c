"""open_clip: code that was written for it, before and after the change."""

from conformance_tests.clients.migration import try_section

try_section("open_clip")
