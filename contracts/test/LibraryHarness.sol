// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {CeremonySrs} from "../libraries/CeremonySrs.sol";
import {DataContract} from "../libraries/DataContract.sol";
import {ExactCall} from "../libraries/ExactCall.sol";
import {ProofTag} from "../libraries/ProofTag.sol";
import {TensorCodec} from "../libraries/TensorCodec.sol";
import {VerifierCall} from "../libraries/VerifierCall.sol";

/// @notice The libraries' internal functions, callable.
contract LibraryHarness {
    function isCeremonys(bytes32 srsHash) external pure returns (bool) {
        return CeremonySrs.includes(srsHash);
    }

    function createData(bytes calldata data) external returns (address) {
        return DataContract.create(data);
    }

    function dataAddress(address creator, uint256 nonce) external pure returns (address) {
        return DataContract.addressOf(creator, nonce);
    }

    /// @notice A verifier's call, prepared where memory is not clean and then filled, the size of its
    ///         memory, and whether the instances were zero at first.
    function verifierCall(bytes calldata proof, uint256[] calldata values)
        external
        pure
        returns (bytes memory encoded, uint256 used, bool clean)
    {
        assembly ("memory-safe") {
            let free := mload(0x40)
            for { let i := 0 } lt(i, 4096) { i := add(i, 32) } { mstore(add(free, i), not(0)) }
        }
        uint256[] memory instances;
        (encoded, instances) = VerifierCall.prepare(proof, values.length);
        uint256 start;
        uint256 end;
        assembly ("memory-safe") {
            start := encoded
            end := mload(0x40)
        }
        used = end - start;
        clean = instances.length == values.length;
        for (uint256 i = 0; i < values.length; ++i) {
            if (instances[i] != 0) clean = false;
            instances[i] = values[i];
        }
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
