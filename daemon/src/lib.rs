//! The depot daemon: store, control plane and data plane.
