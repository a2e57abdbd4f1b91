//! Instruction sets, found at run time.

/// Instruction set that segments are encoded and decoded with. All give the same bytes, elements and kinds of error.
///
/// Values other than [`Isa::SCALAR`] come only from [`Isa::available`], after the processor's own word: holding one is
/// the proof that its instructions may be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Isa {
    /// Plain Rust: on every processor, and the oracle of the others.
    pub const SCALAR: Self = Self(Kind::Scalar);

    /// What this processor has, from the plainest to the best.
    pub fn available() -> Vec<Self> {
        [Some(Self::SCALAR), Self::detect_avx2()].into_iter().flatten().collect()
    }

    /// The best that this processor has.
    pub fn best() -> Self {
        Self::detect_avx2().unwrap_or(Self::SCALAR)
    }

    /// The lower-case name: `scalar` or `avx2`.
    pub const fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
        }
    }

    pub(super) fn kind(self) -> Kind {
        self.0
    }

    /// AVX2 with bit manipulation: in Intel's processors from Haswell and AMD's from Zen.
    #[cfg(target_arch = "x86_64")]
    fn detect_avx2() -> Option<Self> {
        let present = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt");
        present.then_some(Self(Kind::Avx2))
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn detect_avx2() -> Option<Self> {
        None
    }
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
