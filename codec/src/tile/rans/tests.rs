//! The coder against itself, and against `constriction` lane by lane.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;

use constriction::Stack;
use constriction::backends::ReadWords;
use constriction::stream::model::ContiguousCategoricalEntropyModel;
use constriction::stream::stack::{AnsCoder, SmallAnsCoder};
use constriction::stream::{Decode, Encode};
use proptest::prelude::*;

use super::*;
use crate::model::model_set;

/// Models by one number, over all families.
fn model(pick: usize) -> &'static Model {
    let models: Vec<_> = model_set().values.iter().chain(&model_set().exponents).collect();
    models[pick % models.len()]
}

/// Channels of one tile: a model each, and symbols that follow it roughly.
fn channels() -> impl Strategy<Value = Vec<(usize, Vec<u8>)>> {
    (1usize..100, 1usize..12).prop_flat_map(|(num_tokens, num_channels)| {
        let channel = (0usize..87, prop::collection::vec(any::<u32>(), num_tokens));
        prop::collection::vec(channel, num_channels).prop_map(|channels| {
            let symbols_of = |(pick, states): (usize, Vec<u32>)| {
                let model = model(pick);
                let symbol = |state: u32| match state >> 28 {
                    0 => (state % u32::from(model.len())) as u8,
                    _ => model.symbol(state),
                };
                (pick, states.into_iter().map(symbol).collect())
            };
            channels.into_iter().map(symbols_of).collect()
        })
    })
}

fn encode_all(channels: &[(usize, Vec<u8>)]) -> Encoder {
    let num_tokens = channels[0].1.len();
    let mut encoder = Encoder::new(num_tokens * channels.len(), num_tokens);
    for (pick, symbols) in channels.iter().rev() {
        symbols.chunks(LANES).rev().for_each(|row| encoder.push_row(model(*pick), row));
    }
    encoder
}

fn decode_all(states: &[u32], words: &[u16], channels: &[(usize, Vec<u8>)]) -> Result<Vec<Vec<u8>>> {
    let states = states.iter().flat_map(|state| state.to_le_bytes());
    let bytes: Vec<u8> = states.chain(words.iter().flat_map(|word| word.to_le_bytes())).collect();
    let mut decoder = Decoder::parse(&mut Cursor::new(&bytes, 0), true, channels[0].1.len(), words.len())?;
    let mut decoded = Vec::new();
    for (pick, symbols) in channels {
        let mut out = vec![0; symbols.len()];
        out.chunks_mut(LANES).try_for_each(|row| decoder.row(model(*pick), row))?;
        decoded.push(out);
    }
    decoder.finish()?;
    Ok(decoded)
}

/// The words of a tile, read front to back by whichever lane asks next.
#[derive(Clone)]
struct SharedWords(Rc<[u16]>, Rc<Cell<usize>>);

impl ReadWords<u16, Stack> for SharedWords {
    type ReadError = Infallible;

    fn read(&mut self) -> std::result::Result<Option<u16>, Infallible> {
        let position = self.1.get();
        self.1.set(position + 1);
        Ok(self.0.get(position).copied())
    }
}

/// A distribution at the precision of ours.
type EightBits = ContiguousCategoricalEntropyModel<u16, Vec<u16>, 8>;

/// The symbols of a model that have slots, and their distribution: the oracle takes no others.
fn oracle_model(model: &Model) -> (Vec<u8>, EightBits) {
    let symbols: Vec<u8> = (0..16).filter(|&symbol| model.slice(symbol).1 > 0).collect();
    let freqs = symbols.iter().map(|&symbol| model.slice(symbol).1 as u16);
    let oracle = EightBits::from_nonzero_fixed_point_probabilities(freqs, false).unwrap();
    (symbols, oracle)
}

/// Rows in decoding order: the model, and each coder that has a token with its symbol.
fn rows(channels: &[(usize, Vec<u8>)]) -> Vec<(&'static Model, Vec<(usize, u8)>)> {
    let lanes = |row: &[u8]| (0..LANES).filter_map(|lane| Some((lane, *row.get(token_of(lane))?))).collect();
    let of_channel = |(pick, symbols): &(usize, Vec<u8>)| {
        symbols.chunks(LANES).map(|row| (model(*pick), lanes(row))).collect::<Vec<_>>()
    };
    channels.iter().flat_map(of_channel).collect()
}

proptest! {
    #[test]
    fn decoding_gives_back_what_was_encoded(channels in channels()) {
        let expected: Vec<_> = channels.iter().map(|(_, symbols)| symbols.clone()).collect();
        let encoder = encode_all(&channels);
        let states: Vec<u32> = encoder.states().collect();
        prop_assert_eq!(decode_all(&states, encoder.words(), &channels).unwrap(), expected);
    }

    #[test]
    fn constriction_decodes_the_stream_lane_by_lane(channels in channels()) {
        let encoder = encode_all(&channels);
        let words = SharedWords(encoder.words().into(), Rc::default());
        let mut lanes: Vec<AnsCoder<u16, u32, SharedWords>> =
            encoder.states.iter().map(|&state| AnsCoder::from_raw_parts(words.clone(), state)).collect();
        for (model, row) in rows(&channels) {
            let (symbols, oracle) = oracle_model(model);
            for (lane, symbol) in row {
                prop_assert_eq!(symbols[lanes[lane].decode_symbol(oracle.as_view()).unwrap()], symbol);
            }
        }
        prop_assert_eq!(words.1.get(), encoder.words().len());
        prop_assert!(lanes.into_iter().all(|lane| lane.into_raw_parts().1 == STATE_FLOOR));
    }

    #[test]
    fn constriction_encodes_the_same_words(channels in channels()) {
        let encoder = encode_all(&channels);
        let mut lanes = vec![SmallAnsCoder::from_raw_parts(Vec::new(), STATE_FLOOR); LANES];
        let mut words = Vec::new();
        for (model, row) in rows(&channels).into_iter().rev() {
            let (symbols, oracle) = oracle_model(model);
            for (lane, symbol) in row.into_iter().rev() {
                let before = lanes[lane].bulk().len();
                let place = symbols.iter().position(|&other| other == symbol).unwrap();
                lanes[lane].encode_symbol(place, oracle.as_view()).unwrap();
                words.extend_from_slice(&lanes[lane].bulk()[before..]);
            }
        }
        words.reverse();
        prop_assert_eq!(words.as_slice(), encoder.words());
        let states: Vec<u32> = lanes.into_iter().map(|lane| lane.into_raw_parts().1).collect();
        prop_assert_eq!(states, encoder.states.to_vec());
    }

    #[test]
    fn a_missing_or_surplus_word_is_corrupt(channels in channels(), surplus in any::<u16>()) {
        let encoder = encode_all(&channels);
        let states: Vec<u32> = encoder.states().collect();
        let mut words = encoder.words().to_vec();
        words.push(surplus);
        prop_assert!(decode_all(&states, &words, &channels).is_err());
        words.truncate(words.len().saturating_sub(2));
        prop_assert!(encoder.words().is_empty() || decode_all(&states, &words, &channels).is_err());
    }
}

#[test]
fn every_token_of_a_row_has_a_coder() {
    let mut tokens: Vec<usize> = (0..LANES).map(token_of).collect();
    tokens.sort_unstable();
    assert!(tokens.into_iter().eq(0..LANES));
}

#[test]
fn the_rate_is_close_to_the_sum_of_code_lengths() {
    let model = &model_set().values[5];
    let symbols: Vec<u8> = (0..1u32 << 19).map(|i| model.symbol(i.wrapping_mul(2_654_435_761) >> 12)).collect();
    let cost: u64 = symbols.iter().map(|&symbol| u64::from(model.costs(0)[usize::from(symbol)])).sum();
    let mut encoder = Encoder::new(symbols.len(), symbols.len());
    symbols.chunks(LANES).rev().for_each(|row| encoder.push_row(model, row));
    let bits = (encoder.words().len() * 16) as f64;
    assert!((bits / (cost as f64 / 256.0) - 1.0).abs() < 0.005, "{bits} bits, code length {}", cost / 256);
}
