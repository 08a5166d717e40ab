// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {CeremonySrs} from "../libraries/CeremonySrs.sol";
import {ExactCall} from "../libraries/ExactCall.sol";
import {ProofTag} from "../libraries/ProofTag.sol";
import {TensorCodec} from "../libraries/TensorCodec.sol";

/// @notice The libraries' internal functions, callable.
contract LibraryHarness {
    function isCeremonys(bytes32 srsHash) external pure returns (bool) {
        return CeremonySrs.includes(srsHash);
    }

    function unpack(bytes calldata data, uint256 width) external pure returns (int256[] memory) {
        return TensorCodec.unpack(data, width);
    }

    function check(
        bytes calldata data,
        uint256 length,
        uint256 width,
        int256 minimum,
        int256 maximum
    ) external pure {
        TensorCodec.check(data, length, width, minimum, maximum);
    }

    function toFields(bytes calldata data, uint256 length, uint256 width)
        external
        pure
        returns (uint256[] memory fields)
    {
        fields = new uint256[](length);
        TensorCodec.toFields(data, length, width, fields, 0);
    }

    function pack(uint256[] calldata fields, uint256 width, int256 minimum, int256 maximum)
        external
        pure
        returns (bytes memory)
    {
        return TensorCodec.pack(fields, width, minimum, maximum);
    }

    function tag(
        uint256 chainId,
        address oracle,
        uint256[] calldata requestIds,
        address payee,
        uint256 limbs,
        uint256 bits
    ) external pure returns (uint256[] memory fields) {
        fields = new uint256[](limbs);
        bytes32 idsHash = keccak256(abi.encodePacked(requestIds));
        uint256 digest = ProofTag.digest(chainId, oracle, idsHash, payee);
        ProofTag.toFields(digest, limbs, bits, fields, 0);
    }

    function callNoReturn(address target, uint256 gasLimit, bytes calldata data)
        external
        returns (bool)
    {
        return ExactCall.callNoReturn(target, gasLimit, data);
    }

    function staticCallReturnsTrue(address target, uint256 gasLimit, bytes calldata data)
        external
        view
        returns (bool)
    {
        return ExactCall.staticCallReturnsTrue(target, gasLimit, data);
    }
}

/// @notice Answers with the gas that it was given.
contract GasMeter {
    uint256 public seen;

    fallback() external {
        seen = gasleft();
    }
}
