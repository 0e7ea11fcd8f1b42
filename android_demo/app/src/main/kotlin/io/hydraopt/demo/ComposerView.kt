package io.hydraopt.demo

import android.app.Activity
import android.view.View
import android.widget.Button
import android.widget.EditText

/** The next message of a conversation: `composer.xml`. */
class ComposerView(activity: Activity, presenter: Presenter) {
    private val composer: View = activity.find(R.id.composer)
    private val message: EditText = activity.find(R.id.message)
    private val send: Button = activity.find(R.id.send)
    private val stop: Button = activity.find(R.id.halt)
    private val retry: Button = activity.find(R.id.retry)
    private val renew: Button = activity.find(R.id.renew)

    init {
        message.onText(presenter::type)
        send.setOnClickListener { presenter.run() }
        stop.setOnClickListener { presenter.stop() }
        retry.setOnClickListener { presenter.retry() }
        renew.setOnClickListener { presenter.renew() }
    }

    /** Shows a state. */
    fun render(state: State) {
        composer.isVisible = state.form == Form.CONVERSATION
        message.put(state.prompt)
        send.isEnabled = state.canRun
        stop.isEnabled = state.canStop
        retry.isEnabled = state.canRetry
        renew.isEnabled = state.talk.turns.isNotEmpty()
    }
}
