//! KV tensors to and from segments: geometry, levels, entropy coding.
