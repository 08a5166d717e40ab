// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

// solhint-disable no-inline-assembly

/// @title The public inputs that bind a proof to its requests and its payee
/// @notice Twin of `tag` in `oracle/tensor.py`.
library ProofTag {
    /// @notice `keccak256(abi.encode(chainId, oracle, keccak256(abi.encodePacked(ids)), payee))`.
    /// @param idsHash keccak256 of the request ids, packed (32 bytes each).
    function digest(uint256 chainId, address oracle, bytes32 idsHash, address payee)
        internal
        pure
        returns (uint256)
    {
        return uint256(keccak256(abi.encode(chainId, oracle, idsHash, payee)));
    }

    /// @notice `keccak256(abi.encodePacked(ids))`, without the copy.
    function hashIds(uint256[] memory ids) internal pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            hash := keccak256(add(ids, 32), mul(mload(ids), 32))
        }
    }

    /// @notice Write the low `limbs * bits` bits of `tag`, cut into limbs, most significant first,
    ///         into `fields[offset:offset + limbs]`. The caller has checked the length.
    function toFields(
        uint256 tag,
        uint256 limbs,
        uint256 bits,
        uint256[] memory fields,
        uint256 offset
    ) internal pure {
        uint256 mask = (1 << bits) - 1;
        assembly ("memory-safe") {
            let first := add(add(fields, 32), mul(32, offset))
            // From the last limb to the first.
            for { let target := add(first, mul(32, limbs)) } gt(target, first) {} {
                target := sub(target, 32)
                mstore(target, and(tag, mask))
                tag := shr(bits, tag)
            }
        }
    }
}
