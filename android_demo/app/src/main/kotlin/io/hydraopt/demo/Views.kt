package io.hydraopt.demo

import android.text.Editable
import android.text.TextWatcher
import android.view.View
import android.widget.EditText
import android.widget.TextView

/** Shows a text; null hides the view. */
internal fun TextView.show(words: String?) {
    visibility = if (words == null) View.GONE else View.VISIBLE
    put(words.orEmpty())
}

/** Shows a text; lays it out only if it changed. */
internal fun TextView.put(words: String) {
    if (text.toString() != words) text = words
}

/** Calls [changed] with every text that the user enters. */
internal fun EditText.onText(changed: (String) -> Unit) = addTextChangedListener(
    object : TextWatcher {
        override fun afterTextChanged(text: Editable) = changed(text.toString())

        override fun beforeTextChanged(text: CharSequence, at: Int, count: Int, after: Int) = Unit

        override fun onTextChanged(text: CharSequence, at: Int, before: Int, count: Int) = Unit
    }
)
