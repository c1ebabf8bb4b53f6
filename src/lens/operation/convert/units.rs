//! Another unit, in decimal arithmetic: 12.1 times 100 is 1210.

use rust_decimal::{Decimal, RoundingStrategy};
use serde::Deserialize;
use serde_json::{Number, value::RawValue};

use super::Mapping;
use crate::{
    lens::{file::Scope, operation::side},
    schema::Direction,
};

/// Decimals on each side, as it is written; as many as there are, if it is left out.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decimals {
    old: Option<u32>,
    new: Option<u32>,
}

/// `new = old × factor + offset`
#[derive(Debug)]
pub struct Units {
    factor: Decimal,
    offset: Decimal,
    /// On the old side, on the new side; halves are rounded away from zero.
    decimals: [Option<u32>; 2],
}

impl Units {
    pub fn new(
        factor: &Number,
        offset: Option<&Number>,
        decimals: Option<&Decimals>,
        scope: &mut Scope,
    ) -> Option<Self> {
        let mend = "write a number like `100` or `2.54`, of at most 28 digits";
        let factor = decimal(&factor.to_string()).filter(|factor| !factor.is_zero());
        if factor.is_none() {
            scope.flaw("factor", "this is no factor", mend);
        }
        let offset = match offset {
            None => Some(Decimal::ZERO),
            Some(offset) => decimal(&offset.to_string()),
        };
        if offset.is_none() {
            scope.flaw("offset", "this is no number to add", mend);
        }
        let decimals = decimals.copied().unwrap_or_default();
        let (factor, offset) = (factor?, offset?);
        if decimals.old.is_none() && !divides(factor) {
            scope.flaw(
                "decimals",
                format!("divided by {factor}, most numbers have no end"),
                "say how many decimals the old side has: `decimals: { old: 2 }`",
            );
        }
        Some(Self {
            factor,
            offset,
            decimals: [decimals.old, decimals.new],
        })
    }
}

/// A number as JSON writes it, exactly; none if it has more than 28 digits.
pub fn decimal(text: &str) -> Option<Decimal> {
    if text.contains(['e', 'E']) {
        Decimal::from_scientific(text).ok()
    } else {
        Decimal::from_str_exact(text).ok()
    }
}

/// Whether a decimal divided by this one is a decimal: it has no prime factors but 2 and 5.
fn divides(factor: Decimal) -> bool {
    let mut digits = factor.normalize().mantissa().unsigned_abs();
    for prime in [2, 5] {
        while digits != 0 && digits.is_multiple_of(prime) {
            digits /= prime;
        }
    }
    digits == 1
}

impl Mapping for Units {
    /// `null` is `null`.
    fn map(&self, to: Direction, value: &RawValue) -> Option<Box<RawValue>> {
        if value.get() == "null" {
            return Some(value.to_owned());
        }
        let number = decimal(value.get())?;
        let exact = match to {
            Direction::Up => number.checked_mul(self.factor)?.checked_add(self.offset)?,
            Direction::Down => number.checked_sub(self.offset)?.checked_div(self.factor)?,
        };
        let rounded = match self.decimals[side(to)] {
            Some(decimals) => exact.round_dp_with_strategy(decimals, RoundingStrategy::MidpointAwayFromZero),
            None => exact,
        };
        RawValue::from_string(rounded.normalize().to_string()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_an_end_is_divided_exactly() {
        for (factor, expected) in [
            ("100", true),
            ("0.25", true),
            ("-1", true),
            ("2.54", false),
            ("60", false),
        ] {
            assert_eq!(divides(decimal(factor).unwrap()), expected, "{factor}");
        }
    }

    #[test]
    fn numbers_are_read_exactly_or_not_at_all() {
        assert_eq!(decimal("12.10").unwrap().to_string(), "12.10");
        assert_eq!(decimal("1.5e3").unwrap().normalize().to_string(), "1500");
        for text in [
            "\"1\"",
            "true",
            "[]",
            "1e400",
            "1e999999999999",
            "0.12345678901234567890123456789012345",
        ] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }
}
