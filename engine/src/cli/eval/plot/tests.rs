use super::*;

fn row(name: &str, family: &str, kind: Kind, bits_per_value: f64, kl: f64) -> Row {
    Row {
        name: name.to_owned(),
        family: family.to_owned(),
        kind,
        lossless: kl == 0.0,
        bits_per_value,
        ratio: 16.0 / bits_per_value,
        bytes: 1,
        perplexity: 10.0,
        kl,
        kl_standard_error: None,
        top1_agreement: 1.0,
        retrieval_accuracy: 1.0,
    }
}

fn rows() -> Vec<Row> {
    vec![
        row("q0", "q0", Kind::Level, 10.5, 0.0),
        row("q1", "q1", Kind::Level, 5.6, 0.0004),
        row("q2", "q2", Kind::Level, 4.06, 0.0117),
        row("q3:1", "q3", Kind::Level, 1.7, 0.09),
        row("q3:2", "q3", Kind::Level, 2.8, 0.02),
        row("q3:3", "q3", Kind::Level, 4.1, 0.009),
        row("cachegen-32", "cachegen", Kind::Baseline, 5.96, 0.022),
        row("cachegen-16", "cachegen", Kind::Baseline, 4.96, 0.051),
        row("int8", "int8", Kind::Baseline, 8.25, 0.0003),
    ]
}

#[test]
fn axes_leave_a_place_for_nothing_and_room_for_names() {
    let bounds = Bounds::of(&rows());
    assert!((bounds.min_kl / 1e-4 - 1.0).abs() < 1e-9, "{bounds:?}");
    assert!(bounds.max_kl > 0.1 && bounds.max_kl < 0.3, "{bounds:?}");
    assert!(bounds.max_bits > 10.5);
    assert_eq!(bounds.point(&rows()[0]), (10.5, bounds.min_kl));
}

#[test]
fn a_picture_without_losses_is_drawn_too() {
    let svg = draw(&rows()[..1], 768).unwrap();
    assert!(svg.contains("q0, exact"), "{svg}");
}

#[test]
fn levels_of_one_family_are_joined_and_baselines_are_not() {
    let svg = draw(&rows(), 768).unwrap();
    assert_eq!(svg.matches("<circle").count(), 6);
    for row in rows() {
        assert!(svg.contains(&row.name), "{svg}");
    }
}
