// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

interface IToken {
    function balanceOf(address owner) external view returns (uint256);
    function transfer(address to, uint256 value) external returns (bool);
    function transferFrom(address from, address to, uint256 value) external returns (bool);
}

/// A market for two tokens that keeps the product of its reserves from falling. Three thousandths
/// of what is paid in stay in the pool.
contract Pair {
    IToken public immutable token0;
    IToken public immutable token1;
    uint112 private reserve0;
    uint112 private reserve1;
    uint32 private updatedAt;
    uint256 public price0Cumulative;
    uint256 public price1Cumulative;

    uint256 public totalShares;
    mapping(address => uint256) public sharesOf;

    event Minted(address indexed owner, uint256 amount0, uint256 amount1, uint256 shares);
    event Burned(address indexed owner, uint256 amount0, uint256 amount1, uint256 shares);
    event Swapped(address indexed trader, bool zeroForOne, uint256 amountIn, uint256 amountOut);

    error NothingPaid();
    error TooLittleOut(uint256 amountOut, uint256 minimum);
    error ProductFell();

    constructor(IToken token0_, IToken token1_) {
        token0 = token0_;
        token1 = token1_;
    }

    function reserves() external view returns (uint112, uint112, uint32) {
        return (reserve0, reserve1, updatedAt);
    }

    /// Pays in both tokens for shares of the pool.
    function mint(uint256 amount0, uint256 amount1) external returns (uint256 shares) {
        if (amount0 == 0 || amount1 == 0) revert NothingPaid();
        require(token0.transferFrom(msg.sender, address(this), amount0));
        require(token1.transferFrom(msg.sender, address(this), amount1));
        if (totalShares == 0) {
            shares = squareRoot(amount0 * amount1);
        } else {
            uint256 by0 = amount0 * totalShares / reserve0;
            uint256 by1 = amount1 * totalShares / reserve1;
            shares = by0 < by1 ? by0 : by1;
        }
        totalShares += shares;
        sharesOf[msg.sender] += shares;
        sync();
        emit Minted(msg.sender, amount0, amount1, shares);
    }

    /// Gives shares back for their part of both tokens.
    function burn(uint256 shares) external returns (uint256 amount0, uint256 amount1) {
        amount0 = shares * reserve0 / totalShares;
        amount1 = shares * reserve1 / totalShares;
        sharesOf[msg.sender] -= shares;
        totalShares -= shares;
        require(token0.transfer(msg.sender, amount0));
        require(token1.transfer(msg.sender, amount1));
        sync();
        emit Burned(msg.sender, amount0, amount1, shares);
    }

    /// Pays `amountIn` of one token for the other, at least `minimum` of it.
    function swap(bool zeroForOne, uint256 amountIn, uint256 minimum)
        external
        returns (uint256 amountOut)
    {
        if (amountIn == 0) revert NothingPaid();
        (IToken paid, IToken given, uint256 reserveIn, uint256 reserveOut) = zeroForOne
            ? (token0, token1, uint256(reserve0), uint256(reserve1))
            : (token1, token0, uint256(reserve1), uint256(reserve0));
        require(paid.transferFrom(msg.sender, address(this), amountIn));
        uint256 afterFee = amountIn * 997;
        amountOut = afterFee * reserveOut / (reserveIn * 1000 + afterFee);
        if (amountOut < minimum) revert TooLittleOut(amountOut, minimum);
        require(given.transfer(msg.sender, amountOut));

        uint256 before = uint256(reserve0) * reserve1;
        sync();
        if (uint256(reserve0) * reserve1 < before) revert ProductFell();
        emit Swapped(msg.sender, zeroForOne, amountIn, amountOut);
    }

    /// Takes the balances as the new reserves and advances the price sums.
    function sync() private {
        uint32 time = uint32(block.timestamp);
        unchecked {
            uint32 elapsed = time - updatedAt;
            if (elapsed > 0 && reserve0 != 0 && reserve1 != 0) {
                price0Cumulative += (uint256(reserve1) << 112) / reserve0 * elapsed;
                price1Cumulative += (uint256(reserve0) << 112) / reserve1 * elapsed;
            }
        }
        reserve0 = uint112(token0.balanceOf(address(this)));
        reserve1 = uint112(token1.balanceOf(address(this)));
        updatedAt = time;
    }

    /// Newton's iteration from above.
    function squareRoot(uint256 x) private pure returns (uint256 root) {
        if (x < 2) return x;
        root = x;
        uint256 next = x / 2 + 1;
        while (next < root) {
            root = next;
            next = (x / next + next) / 2;
        }
    }
}
