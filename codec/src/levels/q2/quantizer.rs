//! The quantizer: LMCache's arithmetic in `f32`, step by step.

use crate::Side;
use crate::element::Element;
use crate::simd::{self, Isa, Quantizer};

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

    /// Number of bins.
    pub(super) fn count(self) -> u8 {
        match self {
            Self::Sixteen => 16,
            Self::ThirtyTwo => 32,
        }
    }

    /// `C`: values are symbols less this.
    pub(super) fn center(self) -> u8 {
        self.count() / 2 - 1
    }

    /// The fraction of the scale that each magnitude of a value stands for, `value / C`, also beyond `C`.
    pub(super) fn fractions(self) -> [f32; 16] {
        let center = f32::from(self.center());
        std::array::from_fn(|magnitude| magnitude as f32 / center)
    }

    /// The quantizer of a plane, from the scale of each token.
    ///
    /// A scale of zero, or so small that the factor overflows, makes `element * factor + C` infinite or no number, which
    /// LMCache turns into an 8-bit integer; that gives 0.
    pub(super) fn quantizer<E: Element>(self, isa: Isa, scales: &[f32]) -> Quantizer {
        Quantizer {
            center: self.center(),
            factors: scales.iter().map(|&scale| f32::from(self.center()) / scale).collect(),
            tables: simd::token_tables::<E>(isa, &self.fractions(), scales),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Dtype, Geometry};
    use crate::plane::{Plane, PlaneShape};
    use crate::rows::TileRows;
    use crate::simd::HeadErrors;

    #[test]
    fn bins_follow_the_configuration() {
        let count = |num_layers, layer, side| Bins::of_plane(num_layers, layer, side).count();
        assert_eq!([0, 9, 10, 31].map(|layer| count(32, layer, Side::K)), [32, 32, 16, 16]);
        assert_eq!([0, 1, 2, 31].map(|layer| count(32, layer, Side::V)), [32, 32, 16, 16]);
        assert_eq!([0, 8].map(|layer| count(9, layer, Side::V)), [32, 32]);
        assert_eq!([1, 2, 9].map(|layer| count(10, layer, Side::V)), [32, 16, 16]);
    }

    /// Values of one token's elements.
    fn values(bins: Bins, scale: f32, elements: &[f32]) -> Vec<i8> {
        let bytes: Vec<u8> = elements.iter().flat_map(|element| element.to_le_bytes()).collect();
        let geometry = Geometry::new(1, 1, elements.len() as u32, Dtype::F32).unwrap();
        let shape = PlaneShape::new(&geometry, 1);
        let plane = Plane { geometry: &geometry, layer: 0, side: Side::K, shape, bytes: &bytes };
        let quantizer = bins.quantizer::<f32>(Isa::SCALAR, &[scale]);
        let mut errors = HeadErrors::default();
        errors.clear(1);
        let mut rows = TileRows::zeroed(elements.len(), 1);
        simd::quantize::<f32>(Isa::SCALAR, &quantizer, &plane, 0, &mut rows, &mut errors);
        (0..elements.len())
            .flat_map(|channel| rows.channel(channel).flatten())
            .map(|value| value.cast_signed())
            .collect()
    }

    #[test]
    fn values_span_the_scale_and_symbols_round_to_even() {
        for bins in [Bins::Sixteen, Bins::ThirtyTwo] {
            let center = bins.center().cast_signed();
            assert_eq!(values(bins, 3.0, &[-3.0, 0.0, 3.0]), [-center, 0, center]);
            // C is odd, so that the even symbol is the one above.
            assert_eq!(values(bins, f32::from(center), &[0.5]), [1]);
            assert_eq!([bins.fractions()[0], bins.fractions()[usize::from(bins.center())]], [0.0, 1.0]);
        }
    }

    #[test]
    fn scales_without_a_factor_give_symbol_zero() {
        for scale in [0.0, f32::from_bits(1)] {
            assert_eq!(values(Bins::Sixteen, scale, &[scale, -scale, 0.0]), [-7; 3]);
        }
    }
}
