package io.hydraopt.demo

import android.app.Activity
import android.graphics.Bitmap
import android.view.View
import android.widget.Button
import android.widget.EditText
import android.widget.ImageView
import android.widget.TextView
import io.hydraopt.Picture

/** A prompt, a text or a picture for the model: `input.xml`. */
class InputView(activity: Activity, presenter: Presenter, pickPicture: () -> Unit) {
    private val input: View = activity.find(R.id.input)
    private val name: TextView = activity.find(R.id.input_name)
    private val prompt: EditText = activity.find(R.id.prompt)
    private val picture: ImageView = activity.find(R.id.picture)
    private val pick: Button = activity.find(R.id.pick)
    private val run: Button = activity.find(R.id.run)
    private val stop: Button = activity.find(R.id.stop)
    private var shown: Picture? = null

    init {
        prompt.onText(presenter::type)
        pick.setOnClickListener { pickPicture() }
        run.setOnClickListener { presenter.run() }
        stop.setOnClickListener { presenter.stop() }
    }

    /** Shows a state. */
    fun render(state: State) {
        val isPicture = state.form == Form.PICTURE
        input.isVisible = state.form != Form.CONVERSATION
        name.setText(NAMES.getValue(state.form))
        prompt.isVisible = !isPicture
        prompt.setHint(if (state.form == Form.TEXT) R.string.text_hint else R.string.prompt_hint)
        prompt.put(state.prompt)
        pick.isVisible = isPicture
        pick.isEnabled = state.isOpen
        renderPicture(state.preview.takeIf { isPicture })
        run.isEnabled = state.canRun
        stop.isEnabled = state.canStop
    }

    private fun renderPicture(preview: Picture?) {
        picture.isVisible = preview != null
        if (preview === shown) return
        shown = preview
        picture.setImageBitmap(preview?.run {
            Bitmap.createBitmap(argb, width, height, Bitmap.Config.ARGB_8888)
        })
    }

    private companion object {
        val NAMES = mapOf(
            Form.PROMPT to R.string.prompt,
            Form.CONVERSATION to R.string.message,
            Form.TEXT to R.string.text,
            Form.PICTURE to R.string.picture
        )
    }
}
