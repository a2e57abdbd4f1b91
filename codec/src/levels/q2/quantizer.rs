//! The quantizer: LMCache's arithmetic in `f32`, step by step.

use super::ChannelCoding;
use crate::Side;
use crate::model::{Model, model_set};
use crate::simd::{CostTable, Quantizer};

/// Models with fewer layers than this quantize everything to 32 bins.
const FEW_LAYERS: usize = 10;
/// Keys of the layers below this have 32 bins.
const FINE_KEY_LAYERS: usize = 10;
/// Values of the layers below this have 32 bins.
const FINE_VALUE_LAYERS: usize = 2;

/// Number of bins of a plane. One of them stays empty: the symbols are `0..=2 * C` with `C = bins / 2 - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bins {
    Sixteen,
    ThirtyTwo,
}

impl Bins {
    /// The bins that LMCache's configuration has for a plane.
    pub(super) fn of_plane(num_layers: usize, layer: usize, side: Side) -> Self {
        let fine_layers = match side {
            _ if num_layers < FEW_LAYERS => num_layers,
            Side::K => FINE_KEY_LAYERS,
            Side::V => FINE_VALUE_LAYERS,
        };
        if layer < fine_layers { Self::ThirtyTwo } else { Self::Sixteen }
    }

    /// The bins counted by `count`, if that is 16 or 32.
    pub(super) fn from_count(count: u8) -> Option<Self> {
        [Self::Sixteen, Self::ThirtyTwo].into_iter().find(|bins| bins.count() == count)
    }

    /// Number of bins, and of symbols of the models.
    pub(super) fn count(self) -> u8 {
        1 << self.alphabet_bits()
    }

    pub(super) fn alphabet_bits(self) -> u32 {
        match self {
            Self::Sixteen => 4,
            Self::ThirtyTwo => 5,
        }
    }

    pub(super) fn alphabet_mask(self) -> u8 {
        self.count() - 1
    }

    /// Largest symbol: `2 * C`.
    pub(super) fn max_symbol(self) -> u8 {
        self.count() - 2
    }

    /// The models that a channel may choose from, narrow to wide.
    pub(super) fn models(self) -> &'static [Model] {
        match self {
            Self::Sixteen => &model_set().symbols_16,
            Self::ThirtyTwo => &model_set().symbols_32,
        }
    }

    /// Code lengths of the models that a channel may choose from.
    pub(super) fn costs(self) -> &'static CostTable {
        match self {
            Self::Sixteen => &model_set().costs_16,
            Self::ThirtyTwo => &model_set().costs_32,
        }
    }

    /// The model of a channel's symbols; none when they are constant.
    pub(super) fn model(self, coding: ChannelCoding) -> Option<&'static Model> {
        self.models().get(usize::from(coding.width.checked_sub(1)?))
    }

    /// `C`, the symbol of zero.
    fn center(self) -> f32 {
        f32::from(self.max_symbol() / 2)
    }

    /// What a token's elements are multiplied by, from its scale: its largest magnitude.
    pub(super) fn factor(self, scale: f32) -> f32 {
        self.center() / scale
    }

    /// The quantizer of a plane, from the scale of each token.
    ///
    /// A scale of zero, or so small that the factor overflows, makes `value * factor + C` infinite or no number, which
    /// LMCache turns into an 8-bit integer; that gives 0.
    pub(super) fn quantizer(self, scales: Vec<f32>) -> Quantizer {
        let symbol = |index: usize| index as u8 & self.alphabet_mask();
        Quantizer {
            center: self.center(),
            fractions: std::array::from_fn(|index| self.fraction(symbol(index))),
            factors: scales.iter().map(|&scale| self.factor(scale)).collect(),
            scales,
        }
    }

    /// The fraction of the scale that a symbol stands for: `(symbol - C) / C`.
    pub(super) fn fraction(self, symbol: u8) -> f32 {
        (f32::from(symbol) - self.center()) / self.center()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::plane::{HeadView, PlaneShape};
    use crate::rows::SymbolRows;
    use crate::simd;

    #[test]
    fn bins_follow_the_configuration() {
        let count = |num_layers, layer, side| Bins::of_plane(num_layers, layer, side).count();
        assert_eq!([0, 9, 10, 31].map(|layer| count(32, layer, Side::K)), [32, 32, 16, 16]);
        assert_eq!([0, 1, 2, 31].map(|layer| count(32, layer, Side::V)), [32, 32, 16, 16]);
        assert_eq!([0, 8].map(|layer| count(9, layer, Side::V)), [32, 32]);
        assert_eq!([1, 2, 9].map(|layer| count(10, layer, Side::V)), [32, 16, 16]);
    }

    /// Symbols of one token's values.
    fn symbols(bins: Bins, scale: f32, values: &[f32]) -> Vec<u8> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let shape = PlaneShape { num_tokens: 1, num_kv_heads: 1, head_dim: values.len(), element_bytes: 4 };
        let mut symbols = SymbolRows::zeroed(values.len(), 1);
        let head = HeadView::new(&shape, &bytes, 0);
        simd::quantize::<f32>(Isa::SCALAR, &bins.quantizer(vec![scale]), &head, &mut symbols);
        (0..values.len()).map(|channel| symbols.channel(channel)[0]).collect()
    }

    #[test]
    fn symbols_span_the_scale_and_round_to_even() {
        for bins in [Bins::Sixteen, Bins::ThirtyTwo] {
            let center = bins.max_symbol() / 2;
            assert_eq!(symbols(bins, 3.0, &[-3.0, 0.0, 3.0]), [0, center, bins.max_symbol()]);
            assert_eq!(symbols(bins, f32::from(center), &[0.5]), [center.next_multiple_of(2)]);
            assert_eq!([bins.fraction(0), bins.fraction(bins.max_symbol())], [-1.0, 1.0]);
        }
    }

    #[test]
    fn scales_without_a_factor_give_symbol_zero() {
        for scale in [0.0, f32::from_bits(1)] {
            assert_eq!(symbols(Bins::Sixteen, scale, &[scale, -scale, 0.0]), [0; 3]);
        }
    }
}
