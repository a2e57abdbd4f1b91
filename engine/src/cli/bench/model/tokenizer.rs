//! A byte-level tokenizer of a given size: bytes, one merge, and names for all other tokens.

use serde_json::{Map, Value, json};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

/// Token 0, which ends a text.
pub(super) const END: &str = "<|end|>";
/// The merge: readers of such tokenizers expect one.
const MERGE: (&str, &str) = ("t", "h");

/// `tokenizer.json` of `vocab_size` tokens, which is more than bytes have values.
pub(super) fn json(vocab_size: usize) -> Value {
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let merged = format!("{}{}", MERGE.0, MERGE.1);
    let names = alphabet.into_iter().map(String::from).chain([merged]);
    let fillers = (0..).map(|idx| format!("<|{idx}|>"));
    let tokens = std::iter::once(END.to_owned()).chain(names).chain(fillers).take(vocab_size);
    let vocab: Map<String, Value> = tokens.zip(0..).map(|(token, id)| (token, json!(id))).collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0",
        "added_tokens": [{
            "id": 0, "content": END, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        }],
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocab, "merges": [format!("{} {}", MERGE.0, MERGE.1)]},
    })
}
