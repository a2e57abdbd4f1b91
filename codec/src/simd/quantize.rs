//! Elements to symbols, with the error that this makes.

use super::Isa;
use super::isa::Kind;
use crate::element::Element;
use crate::model::MAX_ALPHABET;
use crate::plane::HeadView;
use crate::rows::SymbolRows;
use crate::tile::rans::LANES;

/// The quantizer of a plane: `symbol = round(value * factor + center)`, ties to even.
#[derive(Debug)]
pub(crate) struct Quantizer {
    pub(crate) center: f32,
    /// What each symbol stands for, of the scale.
    pub(crate) fractions: [f32; MAX_ALPHABET],
    /// Of each token. Where the factor is not finite, all symbols are 0.
    pub(crate) factors: Vec<f32>,
    /// Of each token: no element's magnitude is larger.
    pub(crate) scales: Vec<f32>,
}

/// The error of one head.
#[derive(Debug, PartialEq)]
pub(crate) struct HeadErrors {
    /// Sum of the squares of each token, in the order of `d`.
    pub(crate) squares: Vec<f64>,
    /// Largest magnitude.
    pub(crate) max_error: f64,
}

/// Writes the symbols of a head, `[d][token]`.
pub(crate) fn quantize<E: Element>(
    isa: Isa,
    quantizer: &Quantizer,
    head: &HeadView<'_>,
    symbols: &mut SymbolRows,
) -> HeadErrors {
    match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 if E::BYTES == 2 && E::RAW_BITS == u8::BITS && head.head_dim.is_multiple_of(8) => {
            super::avx512::quantize(quantizer, head, symbols)
        }
        _ => quantize_scalar::<E>(quantizer, head, symbols),
    }
}

fn quantize_scalar<E: Element>(quantizer: &Quantizer, head: &HeadView<'_>, symbols: &mut SymbolRows) -> HeadErrors {
    let stride = symbols.rows_per_channel() * LANES;
    let bytes = symbols.rows_mut().as_flattened_mut();
    let mut errors = HeadErrors { squares: vec![0.0; head.num_tokens], max_error: 0.0 };
    for (token, square) in errors.squares.iter_mut().enumerate() {
        let (factor, scale) = (quantizer.factors[token], quantizer.scales[token]);
        let values = head.token(token).chunks_exact(E::BYTES).map(|element| E::to_f32(E::load(element)));
        for (value, place) in values.zip(bytes[token..].iter_mut().step_by(stride)) {
            let scaled = value * factor + quantizer.center;
            *place = if scaled.is_finite() { scaled.round_ties_even() as u8 } else { 0 };
            let decoded = E::to_f32(E::from_f32(quantizer.fractions[usize::from(*place)] * scale));
            let error = f64::from(decoded) - f64::from(value);
            *square += error * error;
            errors.max_error = errors.max_error.max(error.abs());
        }
    }
    errors
}
