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
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// Plain Rust: on every processor, and the oracle of the others.
    pub const SCALAR: Self = Self(Kind::Scalar);

    /// What this processor has, from the plainest to the best.
    pub fn available() -> Vec<Self> {
        [Some(Self::SCALAR), Self::detect_avx2(), Self::detect_avx512()].into_iter().flatten().collect()
    }

    /// The best that this processor has.
    pub fn best() -> Self {
        Self::detect_avx512().or_else(Self::detect_avx2).unwrap_or(Self::SCALAR)
    }

    /// The lower-case name: `scalar`, `avx2` or `avx512`.
    pub const fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
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

    /// AVX-512 with permutations, compression and expansion of bytes and words, beside all of AVX2's: in Intel's processors
    /// from Ice Lake and AMD's from Zen 4.
    #[cfg(target_arch = "x86_64")]
    fn detect_avx512() -> Option<Self> {
        let present = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vbmi2");
        Self::detect_avx2().filter(|_| present).map(|_| Self(Kind::Avx512))
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn detect_avx2() -> Option<Self> {
        None
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn detect_avx512() -> Option<Self> {
        None
    }
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
