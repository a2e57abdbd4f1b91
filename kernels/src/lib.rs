//! GPU kernels: the codec and the attention on a device, loaded at run time where one is present.
