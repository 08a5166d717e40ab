// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

// Consumers as they are written for ORA: they know its published interface and nothing of this project.
// solhint-disable one-contract-per-file

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @notice ORA's older interface.
interface IOlderOra {
    function requestCallback(
        uint256 modelId,
        bytes memory input,
        address callbackContract,
        uint64 gasLimit,
        bytes memory callbackData
    ) external payable returns (uint256);

    function estimateFee(uint256 modelId, uint256 gasLimit) external view returns (uint256);

    function isFinalized(uint256 requestId) external view returns (bool);
}

/// @notice ORA's newer interface.
interface INewerOra is IOlderOra {
    enum DA {
        Calldata,
        Blob,
        IPFS
    }

    enum AIOracleError {
        InvalidInput,
        InvalidBatchSize
    }

    function requestCallback(
        uint256 modelId,
        bytes memory input,
        address callbackContract,
        uint64 gasLimit,
        bytes memory callbackData,
        DA inputDA,
        DA outputDA
    ) external payable returns (uint256);

    function requestBatchInference(
        uint256 batchSize,
        uint256 modelId,
        bytes memory input,
        address callbackContract,
        uint64 gasLimit,
        bytes memory callbackData,
        DA inputDA,
        DA outputDA
    ) external payable returns (uint256);

    function estimateFeeBatch(uint256 modelId, uint256 gasLimit, uint256 batchSize)
        external
        view
        returns (uint256);

    function getModel(uint256 modelId)
        external
        view
        returns (
            bytes32 modelHash,
            bytes32 programHash,
            uint256 fee,
            address receiver,
            uint256 receiverPercentage,
            uint256 accumulateRevenue,
            address token,
            bool unverifiable
        );
}

/// @notice Takes callbacks from its oracle only, as ORA's base contract has it.
abstract contract OraReceiver {
    address public immutable aiOracle;

    error UnauthorizedCallbackSource(address expected, address found);

    modifier onlyAIOracleCallback() {
        if (msg.sender != aiOracle) revert UnauthorizedCallbackSource(aiOracle, msg.sender);
        _;
    }

    constructor(address aiOracle_) {
        aiOracle = aiOracle_;
    }

    function aiOracleCallback(uint256 requestId, bytes calldata output, bytes calldata callbackData)
        external
        virtual;
}

/// @notice A prompt contract of the older kind: notes its request when the call has returned, and
///         takes no answer to one that it does not know.
contract OlderPrompt is OraReceiver {
    struct Asked {
        address sender;
        uint256 modelId;
        bytes input;
        bytes output;
    }

    mapping(uint256 requestId => Asked) public requests;
    mapping(uint256 modelId => mapping(string prompt => string)) public prompts;
    uint64 public constant GAS = 300_000;

    event PromptRequest(uint256 requestId, address sender, uint256 modelId, string prompt);

    constructor(address aiOracle_) OraReceiver(aiOracle_) {}

    function calculateAIResult(uint256 modelId, string calldata prompt) external payable {
        uint256 requestId = IOlderOra(aiOracle).requestCallback{value: msg.value}(
            modelId, bytes(prompt), address(this), GAS, ""
        );
        requests[requestId] = Asked(msg.sender, modelId, bytes(prompt), "");
        emit PromptRequest(requestId, msg.sender, modelId, prompt);
    }

    function aiOracleCallback(uint256 requestId, bytes calldata output, bytes calldata)
        external
        override
        onlyAIOracleCallback
    {
        Asked storage asked = requests[requestId];
        require(asked.sender != address(0), "request not exists");
        asked.output = output;
        prompts[asked.modelId][string(asked.input)] = string(output);
    }

    function estimateFee(uint256 modelId) external view returns (uint256) {
        return IOlderOra(aiOracle).estimateFee(modelId, GAS);
    }

    function isFinalized(uint256 requestId) external view returns (bool) {
        return IOlderOra(aiOracle).isFinalized(requestId);
    }
}

/// @notice One of the newer kind: ids made of names, fees in tokens, batches, errors.
contract NewerPrompt is OraReceiver {
    uint64 public constant GAS = 500_000;

    bytes public output;
    uint256 public failed;
    uint8 public code;
    bytes public message;
    bytes public context;

    event PromptRequest(uint256 requestId, uint256 modelId);

    constructor(address aiOracle_) OraReceiver(aiOracle_) {}

    function ask(
        string calldata modelName,
        uint256 batchSize,
        bytes calldata input,
        bytes calldata callbackData,
        INewerOra.DA outputDA
    ) external payable returns (uint256 requestId) {
        uint256 modelId = calcModelIdByName(modelName);
        (,, uint256 fee,,,, address token,) = INewerOra(aiOracle).getModel(modelId);
        if (token != address(0)) {
            uint256 total = fee * batchSize;
            require(IERC20(token).transferFrom(msg.sender, address(this), total), "token");
            require(IERC20(token).approve(aiOracle, total), "approve");
        }
        if (batchSize == 1) {
            requestId = INewerOra(aiOracle).requestCallback{value: msg.value}(
                modelId,
                input,
                address(this),
                GAS,
                callbackData,
                INewerOra.DA.Calldata,
                outputDA
            );
        } else {
            requestId = INewerOra(aiOracle).requestBatchInference{value: msg.value}(
                batchSize,
                modelId,
                input,
                address(this),
                GAS,
                callbackData,
                INewerOra.DA.Calldata,
                outputDA
            );
        }
        emit PromptRequest(requestId, modelId);
    }

    function aiOracleCallback(uint256, bytes calldata output_, bytes calldata callbackData)
        external
        override
        onlyAIOracleCallback
    {
        output = output_;
        context = callbackData;
    }

    function aiOracleCallbackError(
        uint256 requestId,
        INewerOra.AIOracleError code_,
        bytes calldata message_,
        bytes calldata callbackData
    ) external onlyAIOracleCallback {
        failed = requestId;
        code = uint8(code_);
        message = message_;
        context = callbackData;
    }

    function calcModelIdByName(string memory modelName) public pure returns (uint256) {
        return uint256(uint160(uint256(keccak256(bytes(modelName)))));
    }

    function estimateFee(string calldata modelName, uint256 batchSize)
        external
        view
        returns (uint256)
    {
        return INewerOra(aiOracle).estimateFeeBatch(calcModelIdByName(modelName), GAS, batchSize);
    }
}

/// @notice Has the most gas that ORA's consumers ask for, and a model's id, in its code.
contract HardWired {
    uint256 public constant MODEL_ID = 11;
    uint64 public constant GAS = 5_000_000;

    function ask(IOlderOra aiOracle, bytes calldata input) external payable returns (uint256) {
        return aiOracle.requestCallback{value: msg.value}(
            MODEL_ID, input, address(this), GAS, ""
        );
    }

    function aiOracleCallback(uint256, bytes calldata, bytes calldata) external pure {}
}

/// @notice Asks for the answer to go to another contract.
contract Secretary {
    function ask(
        IOlderOra aiOracle,
        uint256 modelId,
        bytes calldata input,
        address callbackContract,
        bytes calldata callbackData
    ) external payable returns (uint256) {
        return aiOracle.requestCallback{value: msg.value}(
            modelId, input, callbackContract, 200_000, callbackData
        );
    }
}

/// @notice The other contract: unmodified but for the line in its constructor or wherever else it
///         makes the call that it was given.
contract Principal is OlderPrompt {
    bytes public received;

    constructor(address aiOracle_) OlderPrompt(aiOracle_) {}

    function perform(address target, bytes calldata call) external {
        (bool success,) = target.call(call);
        require(success, "call");
    }

    receive() external payable {}
}

/// @notice Makes the calls that it is given, with its own money: one when it hears of an answer, one
///         when it hears of an error.
contract ScriptedConsumer {
    struct Step {
        address target;
        uint256 value;
        bytes call;
    }

    Step[] private _onAnswer;
    Step[] private _onError;
    bool public succeeded;
    bytes public reason;
    uint256 public answers;
    uint256 public errors;
    uint256 public gasAtEntry;

    receive() external payable {}

    function onAnswer(address target, uint256 value, bytes calldata call) external {
        _onAnswer.push(Step(target, value, call));
    }

    function onError(address target, uint256 value, bytes calldata call) external {
        _onError.push(Step(target, value, call));
    }

    function ask(
        IOlderOra aiOracle,
        uint256 modelId,
        bytes calldata input,
        uint64 gasLimit,
        bytes calldata callbackData
    ) external payable returns (uint256) {
        return aiOracle.requestCallback{value: msg.value}(
            modelId, input, address(this), gasLimit, callbackData
        );
    }

    function aiOracleCallback(uint256, bytes calldata, bytes calldata) external {
        gasAtEntry = gasleft();
        ++answers;
        _perform(_onAnswer);
    }

    function aiOracleCallbackError(uint256, uint8, bytes calldata, bytes calldata) external {
        gasAtEntry = gasleft();
        ++errors;
        _perform(_onError);
    }

    function _perform(Step[] storage steps) private {
        if (steps.length == 0) return;
        Step memory step = steps[steps.length - 1];
        steps.pop();
        (succeeded, reason) = step.target.call{value: step.value}(step.call);
    }
}

/// @notice Makes a request and whatever else it is told, in one transaction.
contract SameTransaction {
    bool public succeeded;
    bytes4 public answer;

    function perform(
        address first,
        bytes calldata call,
        address second,
        bytes calldata otherCall
    ) external payable {
        (bool success,) = first.call{value: msg.value}(call);
        require(success, "first");
        bytes memory reason;
        (succeeded, reason) = second.call(otherCall);
        answer = bytes4(reason);
    }
}

/// @notice Makes two calls; the money goes with the second.
contract Both {
    function perform(
        address first,
        bytes calldata call,
        address second,
        bytes calldata otherCall
    ) external payable {
        (bool success,) = first.call(call);
        require(success, "first");
        (success,) = second.call{value: msg.value}(otherCall);
        require(success, "second");
    }
}

/// @notice Takes its answer for one ABI-encoded number of a hundred at most.
contract ScoreReader is OraReceiver {
    uint256 public score;

    constructor(address aiOracle_) OraReceiver(aiOracle_) {}

    function ask(uint256 modelId, bytes calldata input) external payable returns (uint256) {
        return IOlderOra(aiOracle).requestCallback{value: msg.value}(
            modelId, input, address(this), 100_000, ""
        );
    }

    function aiOracleCallback(uint256, bytes calldata output, bytes calldata)
        external
        override
        onlyAIOracleCallback
    {
        uint256 found = abi.decode(output, (uint256));
        require(found >= 1 && found <= 100, "Invalid score range");
        score = found;
    }
}
