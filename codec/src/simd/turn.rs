//! Squares of bytes, turned: rows of channels to lines of tokens and back.

use super::Isa;
use super::isa::Kind;
use crate::rows::Square;

/// Exchanges the two indices of a square.
pub(crate) fn turn(isa: Isa, square: &Square) -> Square {
    let mut turned = [[0; 32]; 32];
    turn_into(isa, square, &mut turned);
    turned
}

/// Exchanges the two indices of a square, into another one.
pub(crate) fn turn_into(isa: Isa, square: &Square, turned: &mut Square) {
    match isa.kind() {
        Kind::Scalar => *turned = std::array::from_fn(|i| std::array::from_fn(|j| square[j][i])),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => super::avx2::turn(square, turned),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => super::avx512::turn(square, turned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turning_exchanges_the_indices() {
        let square: Square = std::array::from_fn(|i| std::array::from_fn(|j| (37 * i + 5 * j) as u8));
        for isa in Isa::available() {
            let turned = turn(isa, &square);
            assert!((0..32).all(|i| (0..32).all(|j| turned[i][j] == square[j][i])), "{isa}");
            assert_eq!(turn(isa, &turned), square);
        }
    }
}
