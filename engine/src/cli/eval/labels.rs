//! Where names stand in the picture: beside their points, and as far as can be on no other point, line or name.

/// A point or an offset in pixels, down and to the right.
pub(super) type Pixels = (i32, i32);

/// Width of a letter and height of a line, near enough.
const LETTER: Pixels = (7, 14);
/// Half the width of a point with some room around it.
const POINT: i32 = 7;
/// Half the width of a line with some room around it, and how far apart the areas are that stand for it.
const LINE: i32 = 2;

/// Offsets of the upper left corners of names from their points; each takes the first free place there is.
pub(super) fn offsets(points: &[Pixels], lines: &[[Pixels; 2]], names: &[String]) -> Vec<Pixels> {
    let mut taken: Vec<Area> = points.iter().map(|&point| Area::around(point, POINT)).collect();
    taken.extend(lines.iter().flat_map(|&line| along(line)));
    let mut place = |(&point, name): (&Pixels, &String)| {
        let width = LETTER.0 * name.chars().count() as i32;
        let covered =
            |offset: &Pixels| taken.iter().map(|other| Area::of(point, *offset, width).overlap(other)).sum::<i32>();
        let offset = candidates(width).into_iter().min_by_key(covered).unwrap_or_default();
        taken.push(Area::of(point, offset, width));
        offset
    };
    points.iter().zip(names).map(&mut place).collect()
}

/// Places around a point, the better ones first.
fn candidates(width: i32) -> [Pixels; 6] {
    let (right, left, middle) = (POINT + 1, -POINT - 1 - width, -width / 2);
    let (up, down) = (-LETTER.1 - 4, 4);
    [(right, up), (right, down), (left, up), (left, down), (middle, up - 6), (middle, down + 6)]
}

/// Areas that a line goes through.
fn along([from, to]: [Pixels; 2]) -> impl Iterator<Item = Area> {
    let (across, down) = (to.0 - from.0, to.1 - from.1);
    let steps = (across.abs().max(down.abs()) / LINE).max(1);
    (0..=steps).map(move |step| Area::around((from.0 + across * step / steps, from.1 + down * step / steps), LINE))
}

/// A rectangle: left, top, right, bottom.
struct Area([i32; 4]);

impl Area {
    fn around((x, y): Pixels, room: i32) -> Self {
        Self([x - room, y - room, x + room, y + room])
    }

    /// Of a name at `offset` from its point.
    fn of((x, y): Pixels, (right, down): Pixels, width: i32) -> Self {
        let (left, top) = (x + right, y + down);
        Self([left, top, left + width, top + LETTER.1])
    }

    /// Pixels that both cover.
    fn overlap(&self, Self(other): &Self) -> i32 {
        let shared = |low: usize| (self.0[low + 2].min(other[low + 2]) - self.0[low].max(other[low])).max(0);
        shared(0) * shared(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn areas(points: &[Pixels], lines: &[[Pixels; 2]], names: &[&str]) -> Vec<Area> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let offsets = offsets(points, lines, &names);
        let area = |((&point, offset), name): ((&Pixels, Pixels), &String)| {
            Area::of(point, offset, LETTER.0 * name.len() as i32)
        };
        points.iter().zip(offsets).zip(&names).map(area).collect()
    }

    #[test]
    fn names_of_crowded_points_cover_nothing() {
        let points = [(226, 81), (295, 135), (328, 174), (356, 172), (367, 172), (480, 172), (318, 114), (370, 166)];
        let lines = [[points[0], points[1]], [points[1], points[2]]];
        let areas = areas(&points, &lines, &["q3:1", "q3:2", "q3:3", "q2", "zstd-9", "lmcache", "kvtc-16x", "kvtc-8x"]);
        for (idx, area) in areas.iter().enumerate() {
            assert!(areas[..idx].iter().all(|other| area.overlap(other) == 0), "{idx}");
            assert!(points.iter().all(|&point| area.overlap(&Area::around(point, POINT)) == 0), "{idx}");
            assert!(lines.iter().flat_map(|&line| along(line)).all(|part| area.overlap(&part) == 0), "{idx}");
        }
    }

    #[test]
    fn a_name_with_room_stands_to_the_upper_right() {
        let [Area([left, _, _, bottom])] = areas(&[(100, 100)], &[], &["q0"])[..] else { panic!("one name") };
        assert!(left > 100 && bottom < 100);
    }
}
