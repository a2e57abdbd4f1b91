//! Attached inference engine: prefix-shared batched decoding over a depot.
