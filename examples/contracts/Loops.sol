// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

/// Computation and hardly any state: what native code is for.
contract Loops {
    /// The number of primes below `limit`, by the sieve of Eratosthenes.
    function sieve(uint256 limit) external pure returns (uint256 count) {
        bool[] memory composite = new bool[](limit);
        for (uint256 i = 2; i < limit; i++) {
            if (composite[i]) continue;
            count++;
            for (uint256 j = i * i; j < limit; j += i) composite[j] = true;
        }
    }

    /// Sorts pseudo-random words by Shell's method and returns a checksum of their order.
    function sort(uint256 length, uint256 seed) external pure returns (uint256 checksum) {
        uint256[] memory words = new uint256[](length);
        for (uint256 i = 0; i < length; i++) {
            unchecked {
                seed = seed * 6364136223846793005 + 1442695040888963407;
            }
            words[i] = seed >> 64;
        }
        for (uint256 gap = length / 2; gap > 0; gap /= 2) {
            for (uint256 i = gap; i < length; i++) {
                uint256 word = words[i];
                uint256 j = i;
                while (j >= gap && words[j - gap] > word) {
                    words[j] = words[j - gap];
                    j -= gap;
                }
                words[j] = word;
            }
        }
        for (uint256 i = 0; i < length; i++) {
            if (i > 0) require(words[i - 1] <= words[i]);
            unchecked {
                checksum = checksum * 31 + words[i];
            }
        }
    }

    /// A chain of `rounds` hashes.
    function hashes(uint256 rounds, bytes32 start) external pure returns (bytes32 last) {
        last = start;
        for (uint256 i = 0; i < rounds; i++) last = keccak256(abi.encode(last, i));
    }

    /// e to the power of x, both with 18 decimals, by its series: signed 256-bit fixed point.
    function exponential(int256 x, uint256 terms) external pure returns (int256 sum) {
        int256 one = 1e18;
        int256 term = one;
        sum = one;
        for (uint256 n = 1; n <= terms; n++) {
            term = term * x / one / int256(n);
            sum += term;
        }
    }

    /// Multiplies two square matrices of pseudo-random field elements and returns their trace.
    function matrix(uint256 size, uint256 modulus) external pure returns (uint256 trace) {
        uint256[] memory a = new uint256[](size * size);
        uint256[] memory b = new uint256[](size * size);
        uint256 value = 1;
        for (uint256 i = 0; i < size * size; i++) {
            value = mulmod(value, 0x9e3779b97f4a7c15f39cc0605cedc835, modulus);
            a[i] = value;
            b[size * size - 1 - i] = addmod(value, i, modulus);
        }
        for (uint256 row = 0; row < size; row++) {
            for (uint256 column = 0; column < size; column++) {
                uint256 sum = 0;
                for (uint256 k = 0; k < size; k++) {
                    sum = addmod(sum, mulmod(a[row * size + k], b[k * size + column], modulus), modulus);
                }
                if (row == column) trace = addmod(trace, sum, modulus);
            }
        }
    }
}
