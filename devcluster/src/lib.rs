//! A real local control plane on loopback.
