//! Messages, ids and sans-I/O frames that the daemon and its clients agree on.
