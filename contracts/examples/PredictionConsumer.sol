// SPDX-License-Identifier: MIT
pragma solidity ^0.8.19;

import {InferenceConsumer} from "../InferenceConsumer.sol";
import {IInferenceOracle} from "../interfaces/IInferenceOracle.sol";
import {IModelRegistry} from "../interfaces/IModelRegistry.sol";
import {TensorCodec} from "../libraries/TensorCodec.sol";

/// @title Asks a classifier and keeps its proved answers
/// @notice For example for iris flowers: four measurements in, three class scores out.
contract PredictionConsumer is InferenceConsumer {
    /// @notice A proved answer.
    /// @param exists False until the result has come.
    /// @param label Index of the greatest score, the first of equals.
    /// @param scores Fixed-point scores: real value = score / 2**(the model's output scale).
    struct Prediction {
        bool exists;
        uint16 label;
        int256[] scores;
    }

    /// @notice The model asked.
    uint256 public immutable modelId;
    /// @notice Gas that storing one of its answers takes, with room to spare.
    uint64 public immutable callbackGas;

    uint256 private immutable _outputWidth;

    mapping(uint256 requestId => Prediction) private _predictions;

    event Predicted(uint256 indexed requestId, uint16 label, int256[] scores);

    /// @param oracle_ Where to ask.
    /// @param modelId_ A registered model.
    constructor(IInferenceOracle oracle_, uint256 modelId_) InferenceConsumer(oracle_) {
        IModelRegistry.Tensor memory output = oracle_.registry().getModel(modelId_).output;
        modelId = modelId_;
        callbackGas = 80_000 + 25_000 * uint64(output.elements);
        _outputWidth = output.width;
    }

    /// @notice Ask for a prediction. Send what `fee` says; the oracle credits the unspent part to
    ///         the account that started the transaction.
    /// @param input The features, packed as the model's codec says.
    function predict(bytes calldata input) external payable returns (uint256 requestId) {
        return oracle.requestCallback{value: msg.value}(
            modelId, input, address(this), callbackGas, ""
        );
    }

    /// @notice Wei to send with `predict`.
    function fee() external view returns (uint256) {
        return oracle.estimateFee(modelId, callbackGas);
    }

    /// @notice The proved answer to a request; `exists` is false while there is none.
    function prediction(uint256 requestId) external view returns (Prediction memory) {
        return _predictions[requestId];
    }

    function _onResult(uint256 requestId, bytes calldata output, bytes calldata)
        internal
        override
    {
        int256[] memory scores = TensorCodec.unpack(output, _outputWidth);
        uint16 label = 0;
        for (uint16 i = 1; i < scores.length; ++i) {
            if (scores[i] > scores[label]) label = i;
        }
        _predictions[requestId] = Prediction(true, label, scores);
        emit Predicted(requestId, label, scores);
    }
}
