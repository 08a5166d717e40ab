// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

// solhint-disable one-contract-per-file

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";

import {IInferenceOracle} from "../interfaces/IInferenceOracle.sol";
import {IPayer} from "./TestTokens.sol";
import {TestConsumer} from "./TestConsumers.sol";

/// @notice A smart account: accepts exactly one digest, with any signature.
contract SmartAccount is IERC1271 {
    bytes32 public approved;

    function approve(bytes32 digest) external {
        approved = digest;
    }

    function isValidSignature(bytes32 digest, bytes memory) external view returns (bytes4) {
        return digest == approved ? IERC1271.isValidSignature.selector : bytes4(0xffffffff);
    }
}

/// @notice Fails its callbacks until it is repaired.
contract RepairableConsumer is TestConsumer {
    bool public repaired;
    uint256 public calls;
    uint256 public gasAtEntry;
    bytes public output;

    error Broken();

    constructor(IInferenceOracle oracle_) TestConsumer(oracle_) {}

    function repair() external {
        repaired = true;
    }

    function aiOracleCallback(uint256, bytes calldata output_, bytes calldata) external {
        gasAtEntry = gasleft();
        if (!repaired) revert Broken();
        ++calls;
        output = output_;
    }
}

/// @notice Pays with a token that calls back before each transfer, and then deposits some more: a
///         balance measured around both would count one of them twice.
contract DoublePayer is IPayer {
    IInferenceOracle private immutable _oracle;
    IERC20 private immutable _token;
    bool private _entered;

    constructor(IInferenceOracle oracle, IERC20 token) {
        _oracle = oracle;
        _token = token;
        token.approve(address(oracle), type(uint256).max);
    }

    function ask(uint256 modelId, bytes calldata input) external payable returns (uint256) {
        return _oracle.requestCallback{value: msg.value}(modelId, input, address(0), 0, "");
    }

    function beforePayment() external {
        if (_entered) return;
        _entered = true;
        _oracle.depositToken(address(_token), address(this), _token.balanceOf(address(this)) / 2);
    }
}

/// @notice Makes a prepared call to the oracle in the middle of its own payment.
contract Interrupter is IPayer {
    IInferenceOracle private immutable _oracle;
    bytes private _call;
    bool public succeeded;
    bytes4 public answer;

    constructor(IInferenceOracle oracle, IERC20 token) {
        _oracle = oracle;
        token.approve(address(oracle), type(uint256).max);
    }

    function ask(uint256 modelId, bytes calldata input, bytes calldata call)
        external
        payable
        returns (uint256)
    {
        _call = call;
        return _oracle.requestCallback{value: msg.value}(modelId, input, address(0), 0, "");
    }

    function beforePayment() external {
        bytes memory reason;
        (succeeded, reason) = address(_oracle).call(_call);
        answer = bytes4(reason);
    }
}

/// @notice Makes several calls in one transaction.
contract Sequence {
    error Failed(uint256 index);

    function perform(address target, bytes[] calldata calls) external {
        for (uint256 i = 0; i < calls.length; ++i) {
            // solhint-disable-next-line avoid-low-level-calls
            (bool success,) = target.call(calls[i]);
            if (!success) revert Failed(i);
        }
    }
}
