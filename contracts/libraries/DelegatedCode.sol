// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

// solhint-disable no-inline-assembly

/// @title Accounts that run another's code (EIP-7702)
library DelegatedCode {
    /// @dev What the code of such an account begins with; no contract's does (EIP-3541).
    uint256 private constant DESIGNATOR = 0xef0100;

    /// @notice Whether the account's key can exchange the code that it runs at any time.
    function isAt(address account) internal view returns (bool) {
        uint256 beginning;
        assembly ("memory-safe") {
            // Scratch space; three bytes of it are read.
            mstore(0, 0)
            extcodecopy(account, 0, 0, 3)
            beginning := shr(232, mload(0))
        }
        return beginning == DESIGNATOR;
    }
}
