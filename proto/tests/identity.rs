//! A wrong hit is impossible: whatever differs between two callers changes every chunk id.
#![allow(clippy::unwrap_used, clippy::type_complexity, reason = "a test fails by panicking, and lists its cases")]

use kvdepot_codec::{Dtype, Geometry};
use kvdepot_proto::{ChunkRef, KvSpec, Rope, Scope, chain, v1};
use proptest::prelude::*;

fn spec() -> KvSpec {
    KvSpec {
        model: "tiny".to_owned(),
        weights_digest: [7; 32],
        tokenizer_digest: None,
        adapter: String::new(),
        geometry: Geometry::new(6, 2, 64, Dtype::Bf16).unwrap(),
        rope: Rope { kind: "default".to_owned(), theta: 50_000.0, parameters: vec![("factor".to_owned(), 8.0)] },
        sliding_window: None,
    }
}

fn scope() -> Scope {
    Scope::exact(spec())
}

fn chunks(scope: &Scope, tenant: &str, tokens: &[u32]) -> Vec<ChunkRef> {
    chain(&scope.key(tenant), tokens, 32).collect()
}

#[test]
fn every_field_of_the_scope_changes_every_id() {
    let tokens: Vec<u32> = (0..100).collect();
    let base = chunks(&scope(), "a", &tokens);
    let changes: Vec<(&str, fn(&mut Scope))> = vec![
        ("model", |s| s.spec.model.push('2')),
        ("weights", |s| s.spec.weights_digest[31] ^= 1),
        ("tokenizer", |s| s.spec.tokenizer_digest = Some([0; 32])),
        ("adapter", |s| s.spec.adapter.push('x')),
        ("dtype", |s| s.spec.geometry = Geometry::new(6, 2, 64, Dtype::F16).unwrap()),
        ("layers", |s| s.spec.geometry = Geometry::new(7, 2, 64, Dtype::Bf16).unwrap()),
        ("heads", |s| s.spec.geometry = Geometry::new(6, 1, 64, Dtype::Bf16).unwrap()),
        ("head_dim", |s| s.spec.geometry = Geometry::new(6, 2, 128, Dtype::Bf16).unwrap()),
        ("rope kind", |s| s.spec.rope.kind.push('3')),
        ("rope theta", |s| s.spec.rope.theta = 50_000.000_000_1),
        ("rope parameter", |s| s.spec.rope.parameters[0].1 = 4.0),
        ("no rope parameter", |s| s.spec.rope.parameters.clear()),
        ("window", |s| s.spec.sliding_window = Some(4096)),
        ("namespace", |s| s.namespace.push('x')),
        ("lossy", |s| s.lossy = true),
        ("salt", |s| s.salt = vec![1]),
    ];
    for (name, change) in changes {
        let mut other = scope();
        change(&mut other);
        let ids = chunks(&other, "a", &tokens);
        assert!(base.iter().zip(&ids).all(|(a, b)| a.id != b.id), "{name} does not change the ids");
    }
    assert!(base.iter().zip(chunks(&scope(), "b", &tokens)).all(|(a, b)| a.id != b.id), "tenants share ids");
}

#[test]
fn fields_do_not_run_into_each_other() {
    let (mut a, mut b) = (scope(), scope());
    (a.namespace, a.salt) = ("ab".to_owned(), b"c".to_vec());
    (b.namespace, b.salt) = ("a".to_owned(), b"bc".to_vec());
    assert!(a.key("") != b.key(""));
}

#[test]
fn a_difference_names_the_field_and_both_values() {
    let mut other = spec();
    other.rope.theta = 1e6;
    assert_eq!(spec().difference(&other).unwrap(), r#"rope.theta is "50000" here and "1000000" there"#);
    assert_eq!(spec().difference(&spec()), None);
    other = spec();
    other.rope.parameters.clear();
    assert_eq!(spec().difference(&other).unwrap(), r#"only one side has rope.factor = "8""#);
}

#[test]
fn the_chain_is_pinned() {
    // These ids are what depots store under: a change here makes every stored chunk unreachable.
    let ids: Vec<String> = chunks(&scope(), "default", &[1, 2, 3]).iter().map(|c| c.id.to_string()).collect();
    assert_eq!(ids, ["0f7037ac250722b0e67f98a6aa5e342c2277da9f541c81b9b0d6da3b4dfe2182"]);
}

#[test]
fn hostile_specs_are_refused() {
    let message = v1::KvSpec::from(&spec());
    let broken: Vec<(&str, fn(&mut v1::KvSpec))> = vec![
        ("model name", |m| m.model.clear()),
        ("long model", |m| m.model = "x".repeat(10_000)),
        ("digest", |m| m.weights_digest.truncate(31)),
        ("tokenizer", |m| m.tokenizer_digest = vec![1]),
        ("dtype", |m| m.dtype = 99),
        ("layers", |m| m.num_layers = 0),
        ("heads", |m| m.num_kv_heads = u32::MAX),
        ("rope", |m| m.rope = None),
        ("theta", |m| m.rope.as_mut().unwrap().theta = f64::NAN),
        ("twice", |m| {
            let rope = m.rope.as_mut().unwrap();
            rope.parameters.push(rope.parameters[0].clone());
        }),
    ];
    for (name, break_it) in broken {
        let mut bad = message.clone();
        break_it(&mut bad);
        assert!(KvSpec::try_from(bad).is_err(), "{name}");
    }
    assert_eq!(KvSpec::try_from(message).unwrap(), spec());
}

proptest! {
    #[test]
    fn a_prefix_has_the_prefix_of_the_chain(tokens in prop::collection::vec(any::<u32>(), 1..200), cut in 0usize..7) {
        let cut = (cut * 32).min(tokens.len() / 32 * 32);
        let (whole, part) = (chunks(&scope(), "", &tokens), chunks(&scope(), "", &tokens[..cut]));
        prop_assert_eq!(&whole[..part.len()], &part[..]);
        prop_assert_eq!(whole.iter().map(|c| c.num_tokens).sum::<usize>(), tokens.len());
    }

    #[test]
    fn a_changed_token_changes_its_chunk_and_all_that_follow(
        tokens in prop::collection::vec(any::<u32>(), 1..200), at in any::<prop::sample::Index>(), flip in 1u32..
    ) {
        let at = at.index(tokens.len());
        let mut other = tokens.clone();
        other[at] ^= flip;
        for (idx, (a, b)) in chunks(&scope(), "", &tokens).iter().zip(chunks(&scope(), "", &other)).enumerate() {
            prop_assert_eq!(a.id == b.id, idx < at / 32);
        }
    }
}
