// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {InferenceConsumer} from "../InferenceConsumer.sol";
import {IInferenceOracle} from "../interfaces/IInferenceOracle.sol";
import {IModelRegistry} from "../interfaces/IModelRegistry.sol";
import {TensorCodec} from "../libraries/TensorCodec.sol";

/// @title Classifies iris flowers with a proved model
/// @notice Asks for four measurements, stores the three class scores and the winning class.
contract IrisClassifier is InferenceConsumer {
    /// @notice A proved answer.
    /// @param exists False until the result has come.
    /// @param label Index of the greatest score.
    /// @param scores Fixed-point scores at the model's output scale.
    struct Prediction {
        bool exists;
        uint8 label;
        int64[3] scores;
    }

    /// @notice Gas that storing a prediction takes, with room to spare.
    uint64 public constant CALLBACK_GAS = 120_000;

    uint8 private constant CLASSES = 3;

    /// @notice The model asked.
    uint256 public immutable modelId;

    uint256 private immutable _outputWidth;

    mapping(uint256 requestId => Prediction) private _predictions;

    event Classified(uint256 indexed requestId, uint8 label, int64[3] scores);

    /// @notice The model does not put out three values of at most eight bytes.
    error UnsuitableModel(uint256 modelId);

    constructor(IInferenceOracle oracle_, uint256 modelId_) InferenceConsumer(oracle_) {
        IModelRegistry.Tensor memory output = oracle_.registry().getModel(modelId_).output;
        if (output.length != CLASSES || output.width > 8) revert UnsuitableModel(modelId_);
        modelId = modelId_;
        _outputWidth = output.width;
    }

    /// @notice Ask for a classification. Send what `fee` says; the unspent part is credited by the
    ///         oracle to the account that started the transaction.
    /// @param input The four measurements, packed as the model's codec says.
    function classify(bytes calldata input) external payable returns (uint256 requestId) {
        return oracle.requestCallback{value: msg.value}(
            modelId, input, address(this), CALLBACK_GAS, ""
        );
    }

    /// @notice Wei to send with `classify`.
    function fee() external view returns (uint256) {
        return oracle.estimateFee(modelId, CALLBACK_GAS);
    }

    /// @notice The proved answer to a request; `exists` is false while there is none.
    function prediction(uint256 requestId) external view returns (Prediction memory) {
        return _predictions[requestId];
    }

    function _onResult(uint256 requestId, bytes calldata output, bytes calldata)
        internal
        override
    {
        int256[] memory values = TensorCodec.unpack(output, _outputWidth);
        Prediction memory result;
        result.exists = true;
        for (uint8 i = 0; i < CLASSES; ++i) {
            // At most eight bytes wide, so the cast loses nothing.
            result.scores[i] = int64(values[i]);
            if (result.scores[i] > result.scores[result.label]) result.label = i;
        }
        _predictions[requestId] = result;
        emit Classified(requestId, result.label, result.scores);
    }
}
