//! Windows of a text.

use std::path::Path;

use kvdepot_client::{Error, files};
use kvdepot_engine::TextCodec;
use serde::Deserialize;

use super::passage::{Passage, Shape, Task};

/// One line of a corpus; its other fields do not matter.
#[derive(Deserialize)]
struct Document {
    text: String,
}

/// Windows of a file, evenly spread and without overlap, each with what lies between it and the next.
///
/// A window is read as it lies there, as in `model/evaluate.py`: documents begin as contexts do, windows need not.
pub(super) struct Windows {
    tokens: Vec<u32>,
    num_windows: usize,
    shape: Shape,
}

impl Windows {
    /// Cuts the documents of a file, one after the other.
    ///
    /// # Errors
    /// `Invalid` when the text is too short, with the number of tokens it takes.
    pub(super) fn cut(text: &TextCodec, path: &Path, shape: Shape, num_windows: usize) -> anyhow::Result<Self> {
        let tokens = tokens(text, path)?;
        let Shape { context_tokens, continue_tokens } = shape;
        let needed = shape.num_tokens().saturating_mul(num_windows);
        if tokens.len() < needed {
            return Err(Error::invalid(format!(
                "{} is too short: {num_windows} windows of {context_tokens} + {continue_tokens} tokens need {needed}, and it has {}",
                path.display(),
                tokens.len()
            ))
            .into());
        }
        Ok(Self { tokens, num_windows, shape })
    }

    pub(super) fn passages(&self) -> impl Iterator<Item = Passage> {
        self.pieces().map(|(window, _)| {
            let (context, continuation) = window.split_at(self.shape.context_tokens);
            Passage { context: context.to_vec(), continuation: continuation.to_vec(), task: Task::Text }
        })
    }

    /// What no window takes.
    pub(super) fn between(&self) -> impl Iterator<Item = &[u32]> {
        self.pieces().map(|(_, rest)| rest)
    }

    fn pieces(&self) -> impl Iterator<Item = (&[u32], &[u32])> {
        let stride = self.tokens.len() / self.num_windows;
        let pieces = self.tokens.chunks_exact(stride).take(self.num_windows);
        pieces.map(|piece| piece.split_at(self.shape.num_tokens()))
    }
}

/// Tokens of the documents of a file, one after the other.
pub(super) fn tokens(text: &TextCodec, path: &Path) -> anyhow::Result<Vec<u32>> {
    let mut tokens = Vec::new();
    for document in documents(path)? {
        tokens.extend(text.encode(&document)?);
    }
    Ok(tokens)
}

/// Texts of the JSON lines in a file named `.jsonl`; the whole of any other file.
fn documents(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = files::read_text(path)?;
    if path.extension().is_none_or(|extension| extension != "jsonl") {
        return Ok(vec![text]);
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parse = |(idx, line): (usize, &str)| {
        let document: Document = serde_json::from_str(line).map_err(|error| {
            Error::invalid(format!("{}:{}: no JSON object with `text`: {error}", path.display(), idx + 1))
        })?;
        Ok(document.text)
    };
    lines.map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_a_context_and_what_follows_it() {
        let shape = Shape { context_tokens: 3, continue_tokens: 2 };
        let windows = Windows { tokens: (0..15).collect(), num_windows: 2, shape };
        let passage = |context: [u32; 3], continuation: [u32; 2]| Passage {
            context: context.to_vec(),
            continuation: continuation.to_vec(),
            task: Task::Text,
        };
        let expected = [passage([0, 1, 2], [3, 4]), passage([7, 8, 9], [10, 11])];
        assert_eq!(windows.passages().collect::<Vec<_>>(), expected);
        assert_eq!(windows.between().collect::<Vec<_>>(), [[5, 6], [12, 13]]);
    }

    #[test]
    fn documents_are_lines_of_jsonl_and_whole_files_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, lines) = (dir.path().join("a.txt"), dir.path().join("a.jsonl"));
        let text = "{\"name\": \"x\", \"text\": \"one\"}\n\n{\"text\": \"two\"}\n";
        std::fs::write(&plain, text).unwrap();
        std::fs::write(&lines, text).unwrap();
        assert_eq!(documents(&plain).unwrap(), [text]);
        assert_eq!(documents(&lines).unwrap(), ["one", "two"]);
        std::fs::write(&lines, "{\"text\": \"one\"}\n{\"name\": 1}\n").unwrap();
        let error = documents(&lines).unwrap_err().to_string();
        assert!(error.contains("a.jsonl:2: no JSON object with `text`"), "{error}");
    }
}
