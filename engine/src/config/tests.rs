use kvdepot_codec::RopeScaling;
use serde_json::{Value, json};

use super::*;
use crate::ErrorKind;

fn base(architecture: &str) -> Value {
    json!({
        "architectures": [architecture], "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5, "hidden_act": "silu", "rope_theta": 50000.0, "tie_word_embeddings": true,
        "bos_token_id": 1, "eos_token_id": 2,
    })
}

fn parse(changes: Value, architecture: &str) -> Result<ModelConfig> {
    let mut config = base(architecture);
    let fields = config.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        fields.insert(name.clone(), value.clone());
    }
    ModelConfig::new(&serde_json::from_value(config).unwrap(), &GenerationConfig::default())
}

fn llama(changes: Value) -> Result<ModelConfig> {
    parse(changes, "LlamaForCausalLM")
}

fn refusal(parsed: Result<ModelConfig>, kind: ErrorKind, words: &str) {
    let error = parsed.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn head_dim_defaults_to_an_even_share_of_the_width() {
    assert_eq!(llama(json!({})).unwrap().head_dim, 16);
    assert_eq!(llama(json!({"head_dim": 32})).unwrap().head_dim, 32);
    assert_eq!(parse(json!({}), "Qwen3ForCausalLM").unwrap().head_dim, 128);
}

#[test]
fn biases_and_norms_follow_the_architecture() {
    let biases = |changes, architecture| parse(changes, architecture).unwrap().biases;
    assert_eq!(biases(json!({}), "LlamaForCausalLM"), Biases { qkv: false, out: false, mlp: false });
    let asked = json!({"attention_bias": true, "mlp_bias": true});
    assert_eq!(biases(asked, "LlamaForCausalLM"), Biases { qkv: true, out: true, mlp: true });
    assert_eq!(biases(json!({}), "Qwen2ForCausalLM"), Biases { qkv: true, out: false, mlp: false });
    assert_eq!(biases(json!({}), "MistralForCausalLM"), Biases { qkv: false, out: false, mlp: false });
    assert!(parse(json!({}), "Qwen3ForCausalLM").unwrap().qk_norm);
}

#[test]
fn both_forms_of_rope_give_the_same() {
    let scaling = json!({"rope_type": "llama3", "type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 1024});
    let mut parameters = scaling.clone();
    parameters["rope_theta"] = json!(50000.0);
    let old = llama(json!({"rope_scaling": scaling})).unwrap();
    let new = llama(json!({"rope_theta": null, "rope_parameters": parameters})).unwrap();
    assert_eq!(old, new);
    assert!(matches!(old.rope.scaling, RopeScaling::Llama3 { factor: 8.0, .. }));
    let plain = llama(json!({"rope_parameters": {"rope_type": "default", "rope_theta": 7.0}})).unwrap();
    assert_eq!(plain.rope, Rope::plain(7.0));
}

#[test]
fn unknown_kinds_are_refused_by_name() {
    let rope = |kind: &str| llama(json!({"rope_scaling": {"type": kind, "factor": 2.0}}));
    refusal(rope("yarn"), ErrorKind::Incompatible, "unsupported RoPE kind \"yarn\"");
    refusal(rope("linear"), ErrorKind::Incompatible, "linear");
    refusal(parse(json!({}), "GPT2LMHeadModel"), ErrorKind::Incompatible, "GPT2LMHeadModel");
    refusal(llama(json!({"hidden_act": "gelu"})), ErrorKind::Incompatible, "gelu");
    refusal(llama(json!({"partial_rotary_factor": 0.5})), ErrorKind::Incompatible, "0.5");
}

#[test]
fn contradictions_are_refused_with_their_values() {
    refusal(llama(json!({"num_key_value_heads": 3})), ErrorKind::Corrupt, "4 query heads over 3");
    refusal(llama(json!({"head_dim": 15})), ErrorKind::Corrupt, "head_dim 15");
    refusal(llama(json!({"vocab_size": 0})), ErrorKind::Corrupt, "vocab_size 0");
    refusal(llama(json!({"num_attention_heads": 0, "num_key_value_heads": 0})), ErrorKind::Corrupt, "num_kv_heads 0");
    let missing = json!({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}});
    refusal(llama(missing), ErrorKind::Corrupt, "low_freq_factor");
}

#[test]
fn a_sliding_window_limits_the_context_only_where_it_is_active() {
    let limit = |changes, architecture| parse(changes, architecture).unwrap().max_context;
    let full = MaxContext { num_tokens: 4096, by_sliding_window: false };
    let window = MaxContext { num_tokens: 1024, by_sliding_window: true };
    assert_eq!(limit(json!({"sliding_window": null}), "MistralForCausalLM"), full);
    assert_eq!(limit(json!({"sliding_window": 1024}), "MistralForCausalLM"), window);
    assert_eq!(limit(json!({"sliding_window": 8192}), "MistralForCausalLM"), full);
    let unused = json!({"sliding_window": 1024, "use_sliding_window": false, "max_window_layers": 0});
    assert_eq!(limit(unused, "Qwen2ForCausalLM"), full);
    let used = json!({"sliding_window": 1024, "use_sliding_window": true, "max_window_layers": 1});
    assert_eq!(limit(used, "Qwen2ForCausalLM"), window);
    let no_layer = json!({"sliding_window": 1024, "use_sliding_window": true, "max_window_layers": 2});
    assert_eq!(limit(no_layer, "Qwen3ForCausalLM"), full);
}

#[test]
fn eos_may_be_one_token_or_several_and_generation_config_decides() {
    assert_eq!(llama(json!({})).unwrap().eos_tokens, [2]);
    assert_eq!(llama(json!({"eos_token_id": [5, 6]})).unwrap().eos_tokens, [5, 6]);
    let generation: GenerationConfig = serde_json::from_value(json!({"eos_token_id": [7, 8]})).unwrap();
    let config = serde_json::from_value(base("LlamaForCausalLM")).unwrap();
    assert_eq!(ModelConfig::new(&config, &generation).unwrap().eos_tokens, [7, 8]);
}
