//! Many rows as the parameters of one statement, in few different texts.
//!
//! A statement is prepared once for each text. Lists of every length would each have their own, and preparing one costs
//! more than running it; so a list is filled up to the next power of two with rows of nulls, which the statement passes
//! over (`where v.id is not null`).

/// `all`, and `None` up to the next power of two.
pub(crate) fn padded<T>(all: &[T]) -> impl Iterator<Item = Option<&T>> {
    let rows = all.len().next_power_of_two();
    all.iter().map(Some).chain(std::iter::repeat_with(|| None)).take(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_filled_up_to_a_power_of_two_behind_what_they_hold() {
        for n in [1_usize, 2, 3, 5, 8, 200] {
            let all: Vec<usize> = (0..n).collect();
            let rows: Vec<_> = padded(&all).collect();
            assert_eq!(rows.len(), n.next_power_of_two());
            assert!(rows.iter().take(n).flatten().copied().eq(all.iter()));
            assert!(rows.iter().skip(n).all(Option::is_none));
        }
    }
}
