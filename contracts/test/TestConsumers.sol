// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IAIOracleCallbackReceiver, IAIOracleErrorReceiver} from "../interfaces/IAIOracle.sol";
import {IInferenceOracle} from "../interfaces/IInferenceOracle.sol";
import {IModelRegistry} from "../interfaces/IModelRegistry.sol";

/// @notice Asks through ORA's call; what it does with the answer is up to its heirs. It has no
///         `receive`, so it cannot be paid.
abstract contract TestConsumer is IAIOracleCallbackReceiver {
    IInferenceOracle public immutable oracle;

    constructor(IInferenceOracle oracle_) {
        oracle = oracle_;
    }

    function ask(uint256 modelId, bytes calldata input, uint64 gas, bytes calldata data)
        external
        payable
        returns (uint256)
    {
        return oracle.requestCallback{value: msg.value}(modelId, input, address(this), gas, data);
    }
}

/// @notice Keeps what it was given and how much gas came with it.
contract RecordingConsumer is TestConsumer {
    uint256 public calls;
    uint256 public requestId;
    bytes public output;
    bytes public callbackData;
    address public caller;
    uint256 public gasAtEntry;

    constructor(IInferenceOracle oracle_) TestConsumer(oracle_) {}

    function aiOracleCallback(uint256 id, bytes calldata output_, bytes calldata data) external {
        gasAtEntry = gasleft();
        ++calls;
        requestId = id;
        output = output_;
        callbackData = data;
        caller = msg.sender;
    }
}

/// @notice Wants to hear of bad requests, as ORA's callers may.
contract ErrorConsumer is TestConsumer, IAIOracleErrorReceiver {
    uint256 public requestId;
    uint8 public code;
    bytes public message;
    bytes public callbackData;

    constructor(IInferenceOracle oracle_) TestConsumer(oracle_) {}

    function aiOracleCallback(uint256, bytes calldata, bytes calldata) external pure {}

    function aiOracleCallbackError(
        uint256 id,
        uint8 code_,
        bytes calldata message_,
        bytes calldata data
    ) external {
        requestId = id;
        code = code_;
        message = message_;
        callbackData = data;
    }
}

contract RevertingConsumer is TestConsumer {
    error Grudge();

    constructor(IInferenceOracle oracle_) TestConsumer(oracle_) {}

    function aiOracleCallback(uint256, bytes calldata, bytes calldata) external pure {
        revert Grudge();
    }
}

contract BurningConsumer is TestConsumer {
    constructor(IInferenceOracle oracle_) TestConsumer(oracle_) {}

    function aiOracleCallback(uint256, bytes calldata, bytes calldata) external pure {
        while (true) {}
    }
}

/// @notice Returns (or reverts with) as much data as its gas can pay for, so that a caller that
///         copies it pays again.
contract BombingConsumer is TestConsumer {
    uint256 private constant SIZE = 600_000;

    bool private immutable _reverts;

    constructor(IInferenceOracle oracle_, bool reverts) TestConsumer(oracle_) {
        _reverts = reverts;
    }

    function aiOracleCallback(uint256, bytes calldata, bytes calldata) external view {
        bool reverts = _reverts;
        assembly {
            if reverts { revert(0, SIZE) }
            return(0, SIZE)
        }
    }
}

/// @notice Asks again from inside the callback, with its own money, once.
contract NestedConsumer is TestConsumer {
    uint256 public nestedRequestId;

    constructor(IInferenceOracle oracle_) payable TestConsumer(oracle_) {}

    function aiOracleCallback(uint256, bytes calldata, bytes calldata data) external {
        if (nestedRequestId != 0) return;
        (uint256 modelId, bytes memory input) = abi.decode(data, (uint256, bytes));
        nestedRequestId = oracle.requestCallback{value: address(this).balance}(
            modelId, input, address(this), 100_000, data
        );
    }
}

/// @notice Sends prepared calldata and money to the oracle when it gets control: in the callback, or
///         when it is paid.
contract ReentrantConsumer is TestConsumer {
    bytes private _attack;
    uint256 private _value;
    bool public attacked;
    bool public succeeded;
    bytes4 public answer;

    constructor(IInferenceOracle oracle_) TestConsumer(oracle_) {}

    receive() external payable {
        _strike();
    }

    function prepare(bytes calldata attack) external payable {
        _attack = attack;
        _value = msg.value;
    }

    function withdraw() external {
        oracle.withdrawTo(address(this));
    }

    function aiOracleCallback(uint256, bytes calldata, bytes calldata) external {
        _strike();
    }

    function _strike() private {
        attacked = true;
        bytes memory reason;
        (succeeded, reason) = address(oracle).call{value: _value}(_attack);
        answer = bytes4(reason);
    }
}

/// @notice Names somebody else as the receiver of the result.
contract SpoofingCaller {
    function ask(
        IInferenceOracle oracle,
        uint256 modelId,
        bytes calldata input,
        address victim
    ) external payable returns (uint256) {
        return oracle.requestCallback{value: msg.value}(modelId, input, victim, 100_000, "");
    }
}

/// @notice Asks for a quote and pays exactly that, in one transaction, like ORA's callers.
contract QuotingCaller {
    function ask(IInferenceOracle oracle, uint256 modelId, bytes calldata input)
        external
        payable
        returns (uint256)
    {
        uint256 quote = oracle.estimateFee(modelId, 0);
        return oracle.requestCallback{value: quote}(modelId, input, address(0), 0, "");
    }
}

/// @notice Takes answers of a model only if no party alone could forge them. A ceremony of the model's
///         own counts if it is the one that somebody has checked.
contract TrustingConsumer {
    uint256 public immutable model;

    error Untrusted(uint256 model);

    constructor(IInferenceOracle oracle, uint256 model_, bytes32 checkedTranscript) {
        IModelRegistry.SetupTrust memory trust = oracle.registry().trustOf(model_);
        if (
            trust.kind == IModelRegistry.Trust.Ceremony
                ? trust.transcriptHash != checkedTranscript
                : trust.kind < IModelRegistry.Trust.UniversalCeremony
        ) revert Untrusted(model_);
        model = model_;
    }
}
