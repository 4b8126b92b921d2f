//! Environment Manager: the environments of a no-code platform, their versions and their configuration.
