package io.hydraopt.demo

import android.app.Activity
import android.text.Editable
import android.text.TextWatcher
import android.view.LayoutInflater
import android.view.View
import android.view.ViewGroup
import android.widget.EditText
import android.widget.TextView

internal fun <T : View> Activity.find(id: Int): T = findViewById(id)!!

internal var View.isVisible: Boolean
    get() = visibility == View.VISIBLE
    set(value) {
        visibility = if (value) View.VISIBLE else View.GONE
    }

/** Shows a view of [layout] for every item, with those that are there already. */
internal fun <T> ViewGroup.fill(items: List<T>, layout: Int, show: View.(T) -> Unit) {
    while (childCount > items.size) removeViewAt(childCount - 1)
    while (childCount < items.size) LayoutInflater.from(context)!!.inflate(layout, this, true)
    for ((index, item) in items.withIndex()) getChildAt(index)!!.show(item)
}

/** Shows a text; null hides the view. */
internal fun TextView.show(words: String?) {
    isVisible = words != null
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
