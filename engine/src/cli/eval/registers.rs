//! The retrieval task: register lines as context, then questions in their own words, as in `model/tasks.py`.
//!
//! Each register is asked for at most once, so that no answer can be read from the questions before it.

use kvdepot_client::Error;
use kvdepot_engine::TextCodec;

use super::passage::{Passage, Shape, Task};

const ADJECTIVES: [&str; 30] = [
    "amber", "brisk", "calm", "dusty", "eager", "faint", "giant", "humble", "icy", "jolly", "keen", "lucky", "merry",
    "noble", "olive", "proud", "quiet", "rapid", "silver", "tender", "upper", "vivid", "warm", "young", "zesty",
    "bitter", "cosmic", "dark", "early", "frozen",
];
const NOUNS: [&str; 30] = [
    "anchor", "basket", "candle", "dragon", "engine", "forest", "garden", "hammer", "island", "jacket", "kettle",
    "ladder", "mirror", "needle", "orange", "pencil", "rabbit", "saddle", "temple", "umbrella", "violin", "window",
    "yellow", "zebra", "bottle", "castle", "desert", "falcon", "glacier", "harbor",
];
const HEADING: &str = "Questions\n";

/// Registers and questions that a seed decides.
///
/// # Errors
/// `Invalid` when the context has no room for a register, or the continuation none for a question.
pub(super) fn passage(text: &TextCodec, shape: Shape, seed: u64) -> anyhow::Result<Passage> {
    let mut rng = Rng(seed);
    let heading = text.encode_suffix(HEADING)?;
    let mut context = text.encode("")?;
    let mut registers = Vec::new();
    for name in shuffled_names(&mut rng) {
        let register = Register::new(text, &name, rng.below(10_000))?;
        if context.len() + register.line.len() + heading.len() > shape.context_tokens {
            break;
        }
        context.extend(&register.line);
        registers.push(register);
    }
    context.extend(heading);
    rng.shuffle(&mut registers);
    let (continuation, answers) = questions(&registers, shape.continue_tokens);
    if answers.is_empty() {
        return Err(Error::invalid(format!(
            "{} + {} tokens have no room for a register and a question about it, which take some 16 each",
            shape.context_tokens, shape.continue_tokens
        ))
        .into());
    }
    Ok(Passage { context, continuation, task: Task::Retrieval { answers } })
}

/// Lines of the registers, as far as they fit, and the indices of their digits.
fn questions(registers: &[Register], num_tokens: usize) -> (Vec<u32>, Vec<usize>) {
    let (mut tokens, mut answers) = (Vec::new(), Vec::new());
    for register in registers {
        if tokens.len() + register.line.len() > num_tokens {
            break;
        }
        answers.extend(register.digits.iter().map(|idx| tokens.len() + idx));
        tokens.extend(&register.line);
    }
    (tokens, answers)
}

/// A line that names a register and its value.
struct Register {
    line: Vec<u32>,
    /// Tokens of the line that hold digits of the value.
    digits: Vec<usize>,
}

impl Register {
    fn new(text: &TextCodec, name: &str, value: u64) -> anyhow::Result<Self> {
        let line = text.encode_suffix(&format!("{name}: {value:04}\n"))?;
        let mut digits = Vec::new();
        for (idx, &token) in line.iter().enumerate() {
            // Names have none.
            if text.decode(&[token])?.contains(|c: char| c.is_ascii_digit()) {
                digits.push(idx);
            }
        }
        Ok(Self { line, digits })
    }
}

fn shuffled_names(rng: &mut Rng) -> Vec<String> {
    let mut names: Vec<String> =
        ADJECTIVES.iter().flat_map(|adjective| NOUNS.map(|noun| format!("{adjective} {noun}"))).collect();
    rng.shuffle(&mut names);
    names
}

/// SplitMix64: the same numbers on every machine and in every version.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, from the upper bits.
    fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    /// Fisher and Yates.
    fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use kvdepot_engine::ModelConfig;

    use super::*;

    const SHAPE: Shape = Shape { context_tokens: 300, continue_tokens: 100 };

    fn text() -> TextCodec {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model");
        TextCodec::open(&dir, &ModelConfig::open(&dir).unwrap()).unwrap()
    }

    #[test]
    fn every_answer_is_in_the_context_and_asked_for_once() {
        let text = text();
        let Passage { context, continuation, task } = passage(&text, SHAPE, 1).unwrap();
        assert!(context.len() <= 300 && context.len() > 260, "{}", context.len());
        assert!(continuation.len() <= 100 && continuation.len() > 80, "{}", continuation.len());
        let (context, questions) = (text.decode(&context).unwrap(), text.decode(&continuation).unwrap());
        assert!(context.ends_with("\nQuestions\n"), "{context}");
        let lines: Vec<&str> = questions.lines().collect();
        assert!(lines.iter().all(|line| context.lines().any(|register| register == *line)), "{questions}");
        assert!(lines.iter().enumerate().all(|(idx, line)| !lines[..idx].contains(line)), "{questions}");
        let Task::Retrieval { answers } = task else { panic!("no retrieval") };
        assert_eq!(answers.len(), 4 * lines.len());
        let digits: Vec<u32> = answers.iter().map(|&idx| continuation[idx]).collect();
        let values: String = questions.chars().filter(char::is_ascii_digit).collect();
        assert_eq!(text.decode(&digits).unwrap(), values);
    }

    #[test]
    fn a_seed_decides_the_registers() {
        let text = text();
        assert_eq!(passage(&text, SHAPE, 1).unwrap(), passage(&text, SHAPE, 1).unwrap());
        assert_ne!(passage(&text, SHAPE, 1).unwrap(), passage(&text, SHAPE, 2).unwrap());
    }

    #[test]
    fn sizes_without_room_for_a_question_are_refused() {
        for (context_tokens, continue_tokens) in [(8, 100), (300, 8)] {
            let error = passage(&text(), Shape { context_tokens, continue_tokens }, 1).unwrap_err();
            assert!(error.to_string().contains("no room for a register"), "{error}");
        }
    }
}
