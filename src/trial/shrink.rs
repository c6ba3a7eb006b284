//! Smaller inputs that still show a difference.

use super::input::Input;
use alloy_primitives::{Bytes, U256};

/// Makes `input` smaller as long as `differs` says that it still shows a difference, and asks that at
/// most as often as `more` allows.
pub(super) fn shrink(
    mut input: Input,
    mut differs: impl FnMut(&Input) -> bool,
    mut more: impl FnMut() -> bool,
) -> Input {
    loop {
        let mut smaller = None;
        for candidate in candidates(&input) {
            if !more() {
                return input;
            }
            if candidate != input && differs(&candidate) {
                smaller = Some(candidate);
                break;
            }
        }
        match smaller {
            Some(candidate) => input = candidate,
            None => return input,
        }
    }
}

/// What is simpler than `input` in one thing, the largest steps first. No chain of them is endless: each
/// makes something shorter, less, or absent.
fn candidates(input: &Input) -> Vec<Input> {
    let mut found = Vec::new();
    let with = |change: &dyn Fn(&mut Input)| {
        let mut other = input.clone();
        change(&mut other);
        other
    };
    let data = &input.calldata;
    found.extend((input.switching.is_some()).then(|| with(&|input| input.switching = None)));
    found.extend((input.fails_at.is_some()).then(|| with(&|input| input.fails_at = None)));
    found.extend(
        input
            .in_memory
            .then(|| with(&|input| input.in_memory = false)),
    );
    found.extend(
        input
            .is_static
            .then(|| with(&|input| input.is_static = false)),
    );
    found.extend((!input.value.is_zero()).then(|| with(&|input| input.value = U256::ZERO)));
    found.extend((input.reservoir > 0).then(|| with(&|input| input.reservoir = 0)));
    for keep in [0, 4, data.len() / 2, data.len().saturating_sub(32)] {
        if keep < data.len() {
            found.push(with(&|input| input.calldata = data.slice(..keep)));
        }
    }
    found.extend(
        data.len()
            .checked_sub(1)
            .map(|keep| with(&|input| input.calldata = data.slice(..keep))),
    );
    // Words of zeros, behind the selector.
    for at in (4..data.len()).step_by(32) {
        let end = (at + 32).min(data.len());
        if data[at..end].iter().any(|byte| *byte != 0) {
            let mut zeroed = data.to_vec();
            zeroed[at..end].fill(0);
            found.push(with(&|input| input.calldata = Bytes::from(zeroed.clone())));
        }
    }
    for gas in [
        input.gas / 2,
        input.gas - input.gas / 8,
        input.gas.saturating_sub(1),
    ] {
        if gas < input.gas {
            found.push(with(&|input| input.gas = gas));
        }
    }
    for seed in 0..input.seed.min(4) {
        found.push(with(&|input| input.seed = seed));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_stays() {
        let input = Input {
            calldata: Bytes::from(vec![7; 300]),
            in_memory: true,
            value: U256::from(5),
            gas: 100_000,
            is_static: true,
            seed: 99,
            fails_at: Some(1),
            switching: Some(3),
            ..Input::default()
        };
        let differs = |input: &Input| {
            input.calldata.len() > 40 && input.calldata[37] == 7 && input.gas >= 777
        };
        let smallest = shrink(input.clone(), differs, || true);
        let mut calldata = vec![7, 7, 7, 7];
        calldata.resize(36, 0);
        calldata.extend([7; 5]);
        let expected = Input {
            calldata: calldata.into(),
            gas: 777,
            ..Input::default()
        };
        assert_eq!(smallest, expected);
        let mut left = 3;
        let stopped = shrink(input.clone(), differs, || {
            left -= 1;
            left > 0
        });
        assert!(differs(&stopped) && stopped != smallest);
        assert_eq!(shrink(input.clone(), |_| false, || true), input);
    }
}
