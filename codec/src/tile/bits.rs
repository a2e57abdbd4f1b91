//! Rows of raw bits: up to 32 values of equal width, least significant bit first, padded to a whole byte.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a row has at most 32 values of 32 bits, and cutting bits off is the work"
)]

/// Bytes of a row of `count` values of `width` bits.
pub(crate) const fn packed_bytes(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Appends a row of values below `2^width`; `width` is at most 32.
pub(crate) fn pack(values: &[u32], width: u32, out: &mut Vec<u8>) {
    let (mut pending, mut num_bits) = (0u64, 0);
    for &value in values {
        pending |= u64::from(value) << num_bits;
        num_bits += width;
        while num_bits >= 8 {
            out.push(pending as u8);
            pending >>= 8;
            num_bits -= 8;
        }
    }
    if num_bits > 0 {
        out.push(pending as u8);
    }
}

/// Fills `values` from a row that [`pack`] wrote; missing bytes read as zero.
pub(crate) fn unpack(bytes: &[u8], width: u32, values: &mut [u32]) {
    let mut bytes = bytes.iter();
    let (mut pending, mut num_bits) = (0u64, 0);
    for value in values {
        while num_bits < width {
            pending |= u64::from(bytes.next().copied().unwrap_or_default()) << num_bits;
            num_bits += 8;
        }
        *value = (pending & ((1 << width) - 1)) as u32;
        pending >>= width;
        num_bits -= width;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpack_undoes_pack_for_every_width_and_count() {
        for width in 1..=24 {
            for count in 0..=32usize {
                let values: Vec<u32> =
                    (0..count).map(|i| (i as u32).wrapping_mul(2_654_435_761) & ((1 << width) - 1)).collect();
                let mut bytes = Vec::new();
                pack(&values, width, &mut bytes);
                assert_eq!(bytes.len(), packed_bytes(count, width));
                let mut unpacked = vec![0; count];
                unpack(&bytes, width, &mut unpacked);
                assert_eq!(unpacked, values);
            }
        }
    }

    #[test]
    fn eight_bits_pack_to_plain_bytes() {
        let mut bytes = Vec::new();
        pack(&[1, 255, 7], 8, &mut bytes);
        assert_eq!(bytes, [1, 255, 7]);
    }
}
