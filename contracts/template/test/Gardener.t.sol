// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {InferenceConsumer} from "@verifiable-inference/contracts/InferenceConsumer.sol";
import {
    IInferenceOracle
} from "@verifiable-inference/contracts/interfaces/IInferenceOracle.sol";
import {IModelRegistry} from "@verifiable-inference/contracts/interfaces/IModelRegistry.sol";
import {
    MockInferenceOracle
} from "@verifiable-inference/contracts/mocks/MockInferenceOracle.sol";
import {Gardener} from "../src/Gardener.sol";

/// @notice The cheat codes used here. A project with forge-std inherits its `Test` instead.
interface Vm {
    function expectRevert(bytes calldata reason) external;
    function fee(uint256 baseFee) external;
}

contract GardenerTest {
    Vm private constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint96 private constant MODEL_FEE = 10_000;

    // Four measurements of three bytes: oracle encode 5.1,3.5,1.4,0.2
    bytes private constant FLOWER = hex"00519a003800001666000333";

    MockInferenceOracle private _oracle;
    Gardener private _gardener;

    function setUp() external {
        VM.fee(1 gwei);
        _oracle = new MockInferenceOracle();
        _oracle.addModel(
            IModelRegistry.Tensor(4, 3, 12, -7_578, 40_346),
            IModelRegistry.Tensor(
                3, 8, 36, -9_217_462_324_974_321_663, 9_217_462_324_974_321_663
            ),
            MODEL_FEE
        );
        _gardener = new Gardener(_oracle);
    }

    function test_answer_setosa_isKept() external {
        uint256 requestId = _ask();
        require(!_gardener.isSetosa(requestId), "answered inside the request");
        _oracle.answer(requestId, _scores(300_000, -1, -123_456));
        require(_gardener.isSetosa(requestId), "not setosa");
    }

    function test_answer_another_isNotSetosa() external {
        uint256 requestId = _ask();
        _oracle.answer(requestId, _scores(-1, 300_000, -123_456));
        require(!_gardener.isSetosa(requestId), "setosa");
    }

    function test_answer_callbackGas_suffices() external {
        uint256 requestId = _ask();
        _oracle.answer(requestId, _scores(1, 0, 0));
        require(_oracle.undelivered(requestId) == 0, "raise CALLBACK_GAS");
    }

    function test_ask_tooLittleMoney_isRefused() external {
        uint256 quote = _oracle.estimateFee(_gardener.MODEL(), _gardener.CALLBACK_GAS());
        // The quote is for twice the present base fee.
        uint256 required = MODEL_FEE + (quote - MODEL_FEE) / 2;
        VM.expectRevert(
            abi.encodeWithSelector(
                IInferenceOracle.Underpaid.selector, required - 1, required
            )
        );
        _gardener.ask{value: required - 1}(FLOWER);
        _gardener.ask{value: required}(FLOWER);
    }

    function test_expire_moneyComesBackAsCredit() external {
        uint256 requestId = _ask();
        (IInferenceOracle.Request memory req,,) = _oracle.requestOf(requestId);
        _oracle.expire(requestId);
        uint256 credit = _oracle.creditOf(address(0), req.refundTo);
        require(credit == uint256(req.fee) + req.gasMoney, "escrow is short");
        require(!_gardener.isSetosa(requestId), "answered");
    }

    function test_callback_fromAStranger_isRefused() external {
        VM.expectRevert(
            abi.encodeWithSelector(InferenceConsumer.NotOracle.selector, address(this))
        );
        _gardener.aiOracleCallback(1, "", "");
    }

    function _ask() private returns (uint256 requestId) {
        uint256 fee = _oracle.estimateFee(_gardener.MODEL(), _gardener.CALLBACK_GAS());
        return _gardener.ask{value: fee}(FLOWER);
    }

    function _scores(int256 setosa, int256 versicolor, int256 virginica)
        private
        pure
        returns (int256[] memory scores)
    {
        scores = new int256[](3);
        (scores[0], scores[1], scores[2]) = (setosa, versicolor, virginica);
    }
}
