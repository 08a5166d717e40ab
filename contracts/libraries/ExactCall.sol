// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

// solhint-disable no-inline-assembly

/// @title Calls that get exactly the gas they were promised
/// @notice The EVM silently grants a call at most 63/64 of what is left (EIP-150). Whoever sends
///         the transaction could starve a call that way and blame the callee; here it reverts.
library ExactCall {
    /// @notice The transaction brought too little gas to grant `required`.
    error NotEnoughGas(uint256 available, uint256 required);

    /// @dev Spent between the check and the callee's first instruction: a warm account access (100;
    ///      both functions look at the target's code first), the cold code that an account delegates
    ///      to (2,600, EIP-7702) and stack work.
    uint256 private constant CUSHION = 3_200;

    /// @notice Call `target` with exactly `gasLimit` gas and copy none of what it returns.
    /// @return success False if the call failed or `target` has no code.
    function callNoReturn(address target, uint256 gasLimit, bytes memory data)
        internal
        returns (bool success)
    {
        if (target.code.length == 0) return false;
        _requireGas(gasLimit);
        assembly ("memory-safe") {
            success := call(gasLimit, target, 0, add(data, 32), mload(data), 0, 0)
        }
    }

    /// @notice Static call with exactly `gasLimit` gas, answered by one ABI-encoded `true`.
    /// @return True only if `target` has code, the call succeeded, and it returned 32 bytes, value 1.
    function staticCallReturnsTrue(address target, uint256 gasLimit, bytes memory data)
        internal
        view
        returns (bool)
    {
        if (target.code.length == 0) return false;
        _requireGas(gasLimit);
        bool success;
        uint256 size;
        uint256 value;
        assembly ("memory-safe") {
            // Scratch space takes the single word that is ever copied.
            success := staticcall(gasLimit, target, add(data, 32), mload(data), 0, 32)
            size := returndatasize()
            value := mload(0)
        }
        return success && size == 32 && value == 1;
    }

    function _requireGas(uint256 gasLimit) private view {
        uint256 left = gasleft();
        uint256 available = left > CUSHION ? left - CUSHION : 0;
        available -= available / 64;
        if (available < gasLimit) revert NotEnoughGas(available, gasLimit);
    }
}
