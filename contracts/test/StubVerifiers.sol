// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IVerifier} from "../interfaces/IVerifier.sol";

/// @notice Accepts exactly the proof `keccak256(instances as 32-byte words)`; reverts otherwise,
///         like a generated verifier.
contract HashVerifier is IVerifier {
    function verifyProof(bytes calldata proof, uint256[] calldata instances)
        external
        pure
        returns (bool)
    {
        require(
            proof.length == 32 && bytes32(proof) == keccak256(abi.encodePacked(instances)), ""
        );
        return true;
    }
}

/// @notice Answers with whatever raw bytes it was built with, whatever the proof.
contract FixedAnswerVerifier {
    bytes private _answer;

    constructor(bytes memory answer) {
        _answer = answer;
    }

    fallback(bytes calldata) external returns (bytes memory) {
        return _answer;
    }
}

/// @notice Reverts with the very bytes that would mean true.
contract TrueRevertingVerifier is IVerifier {
    function verifyProof(bytes calldata, uint256[] calldata) external pure returns (bool) {
        assembly {
            mstore(0, 1)
            revert(0, 32)
        }
    }
}

/// @notice Uses all the gas that it gets.
contract BurningVerifier is IVerifier {
    function verifyProof(bytes calldata, uint256[] calldata) external pure returns (bool) {
        while (true) {}
        return true;
    }
}

/// @notice Reads the proof at the fixed calldata position where the standard encoding puts it, as
///         generated verifiers do, and accepts if it is `keccak256("valid")`.
contract FixedOffsetVerifier {
    function verifyProof(bytes calldata, uint256[] calldata) external pure returns (bool) {
        return bytes32(msg.data[0x64:0x84]) == keccak256("valid");
    }
}

/// @notice Accepts anything, if it is given more gas than it was built with.
contract HungryVerifier is IVerifier {
    uint256 private immutable _gas;

    constructor(uint256 gas) {
        _gas = gas;
    }

    function verifyProof(bytes calldata, uint256[] calldata) external view returns (bool) {
        return gasleft() > _gas;
    }
}

/// @notice Accepts anything, after nearly all of its gas is used.
contract CostlyVerifier is IVerifier {
    uint256 private constant LEFT = 1_000;

    function verifyProof(bytes calldata, uint256[] calldata) external view returns (bool) {
        while (gasleft() > LEFT) {}
        return true;
    }
}
