package io.hydraopt.demo

import android.app.Activity
import android.graphics.Rect
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.TextView
import io.hydraopt.End

/** An answer, a conversation or labels: `output.xml`. */
class OutputView(private val activity: Activity, presenter: Presenter) {
    private val name: TextView = activity.find(R.id.output_name)
    private val answer: TextView = activity.find(R.id.answer)
    private val turns: ViewGroup = activity.find(R.id.turns)
    private val status: TextView = activity.find(R.id.status)
    private val full: View = activity.find(R.id.full)
    private val goOn: Button = activity.find(R.id.go_on)
    private val labels = LabelsView(activity)
    private var shown: Talk? = null

    init {
        goOn.setOnClickListener { presenter.goOn() }
    }

    private fun text(id: Int, vararg arguments: Any?): String = activity.getString(id, *arguments)

    /** Shows a state. */
    fun render(state: State) {
        name.setText(NAMES.getValue(state.form))
        val isTalk = state.form == Form.CONVERSATION
        val isResult = state.form == Form.TEXT || state.form == Form.PICTURE
        turns.isVisible = isTalk
        if (isTalk) renderTalk(state.talk)
        full.isVisible = isTalk && state.talk.isFull
        goOn.isVisible = isTalk && state.talk.isFull
        goOn.isEnabled = state.canRun
        labels.render(state.result.takeIf { isResult })
        val words = if (isTalk || isResult) "" else state.answer
        val isNothing = if (isTalk) state.talk.turns.isEmpty() else state.result == null
        answer.isVisible = isNothing || !isTalk && !isResult
        answer.put(words.ifEmpty { text(R.string.answer_none) })
        answer.isEnabled = words.isNotEmpty()
        renderStatus(state)
    }

    private fun renderTalk(talk: Talk) {
        if (talk == shown) return
        val isLonger = talk.turns.size > (shown?.turns?.size ?: 0)
        val follows = isLonger || status.getLocalVisibleRect(Rect())
        shown = talk
        turns.fill(talk.turns.withIndex().toList(), R.layout.turn) { (index, turn) ->
            renderTurn(this, turn, isDropped = index < talk.dropped)
            val isLast = index == talk.dropped - 1
            findViewById<View>(R.id.turn_note)!!.isVisible = isLast
        }
        if (follows && talk.turns.isNotEmpty()) status.post(::follow)
    }

    /** Keeps the end of a growing answer in sight. */
    private fun follow() {
        status.requestRectangleOnScreen(Rect(0, 0, status.width, status.height))
    }

    private fun renderTurn(row: View, turn: Turn, isDropped: Boolean) {
        for ((id, words, spoken) in listOf(
            Triple(R.id.turn_message, turn.message, R.string.turn_message),
            Triple(R.id.turn_answer, turn.answer, R.string.turn_answer)
        )) {
            row.findViewById<TextView>(id)!!.apply {
                put(words)
                isEnabled = !isDropped
                contentDescription = text(spoken, words)
            }
        }
    }

    private fun renderStatus(state: State) {
        val words = status(state)
        if (status.text.toString() == words) return
        status.text = words // read aloud when it changes, with the answer at its end
        status.contentDescription = when {
            state.result != null -> text(R.string.result_aloud, labels.spoken, words)
            state.end == null -> words
            state.form == Form.CONVERSATION ->
                text(R.string.answered_aloud, state.talk.turns.lastOrNull()?.answer, words)
            else -> text(R.string.answered_aloud, state.answer, words)
        }
    }

    private fun status(state: State): String = when {
        state.work == Work.ANSWERING -> text(R.string.answering)
        state.work == Work.LOOKING -> text(R.string.looking)
        state.work == Work.SWITCHING || state.work == Work.MIXING -> text(R.string.switching)
        state.result != null -> text(R.string.done)
        state.end == null && state.weights != null -> text(R.string.ready)
        state.end == null -> text(R.string.idle)
        else -> {
            val why = text(ENDS.getValue(state.end))
            val count = state.tokens
            activity.resources.getQuantityString(R.plurals.answered, count, count, why)
        }
    }

    private companion object {
        val NAMES = mapOf(
            Form.PROMPT to R.string.answer,
            Form.CONVERSATION to R.string.talk,
            Form.TEXT to R.string.result,
            Form.PICTURE to R.string.result
        )
        val ENDS = mapOf(
            End.END_TOKEN to R.string.end_token,
            End.MAX_NEW_TOKENS to R.string.end_longest,
            End.CONTEXT to R.string.end_context,
            End.STOP to R.string.end_token,
            End.CANCELLED to R.string.end_stopped
        )
    }
}
